"""What routers count of each model, under both families of names, and never twice."""

from typing import Self

import pytest

from adapter.collect import Collector
from adapter.config import Settings, parse_settings
from adapter.records import Missing, Reason, Snapshot
from tests.helpers.clocks import ManualClock
from tests.helpers.pages import PageServer, hang, page

from .captures import needs_notes, samples

LABELS = 'fairness_id="f",inference_pool="pool",model_name="m",priority="0",target_model_name="m"'


def settings_of(*routers: str, models: tuple[str, ...] = ("m",), more: str = "") -> Settings:
    declared = "\n".join(f"  {name}: {{}}" for name in dict.fromkeys(models))
    variants = "\n".join(
        f"  - {{name: v{i}, namespace: ns{i}, model: {name}, accelerator: H100}}"
        for i, name in enumerate(models)
    )
    listed = ", ".join(f'"{url}"' for url in routers)
    return parse_settings(
        f"""
sources: {{router: {{endpoints: [{listed}], timeout_s: 0.6{more}}}}}
models:
{declared}
variants:
{variants}
"""
    )


class Running:
    def __init__(self, settings: Settings) -> None:
        self.clock = ManualClock()
        self.collector = Collector(settings, self.clock)

    async def __aenter__(self) -> Self:
        await self.collector.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.collector.stop()

    async def collect(self, *, after_s: float = 10.0) -> Snapshot:
        self.clock.advance(after_s)
        return await self.collector.collect()


def model(snapshot: Snapshot, row: int = 0) -> tuple:
    names = ("offered_rate_rps", "router_rejection_rate_rps", "router_queue_requests")
    return tuple(snapshot.model[name][row] for name in names)


def queue(size: float, *, prefix: str = "llm_d_epp", labels: str = LABELS) -> str:
    return f"{prefix}_flow_control_queue_size{{{labels}}} {size}\n"


def outcomes(
    dispatched: float, evicted: float, *, prefix: str = "llm_d_epp", name: str = "m"
) -> str:
    base = f"{prefix}_flow_control_request_queue_duration_seconds_count"
    labels = f'inference_pool="pool",model_name="{name}",target_model_name="{name}"'
    return (
        f'{base}{{{labels},outcome="Dispatched"}} {dispatched}\n'
        f'{base}{{{labels},outcome="EvictedTTL"}} {evicted}\n'
    )


async def two_reads(first: str, second: str, **options) -> Snapshot:
    async with (
        PageServer({"/metrics": page(first)}) as server,
        Running(settings_of(server.url, **options)) as run,
    ):
        await run.collect()
        server.answers["/metrics"] = page(second)
        return await run.collect()


@pytest.mark.parametrize("prefix", ["llm_d_epp", "inference_extension"])
async def test_offered_is_what_left_the_queue_plus_its_growth(prefix: str) -> None:
    found = await two_reads(
        queue(10, prefix=prefix) + outcomes(100, 5, prefix=prefix),
        queue(60, prefix=prefix) + outcomes(200, 25, prefix=prefix),
    )
    assert model(found) == pytest.approx((12.0 + 5.0, 2.0, 60.0))


async def test_twins_of_a_name_count_once() -> None:
    both = ("llm_d_epp", "inference_extension")
    found = await two_reads(
        "".join(queue(10, prefix=p) + outcomes(100, 5, prefix=p) for p in both),
        "".join(queue(60, prefix=p) + outcomes(200, 25, prefix=p) for p in both),
    )
    assert model(found) == pytest.approx((17.0, 2.0, 60.0))


@pytest.mark.parametrize(
    ("other", "offered"),
    [
        pytest.param("", 15.0, id="the pool serves one model"),
        pytest.param('inference_pool="pool",model_name="n",target_model_name="n"', 5.0, id="two"),
    ],
)
async def test_requests_for_an_adapter_are_of_the_pools_model(other: str, offered: float) -> None:
    also = queue(0, labels=other) if other else ""
    models = ("m", "n") if other else ("m",)
    found = await two_reads(
        queue(0) + also + outcomes(100, 0) + outcomes(50, 0, name="sql-lora"),
        queue(0) + also + outcomes(150, 0) + outcomes(150, 0, name="sql-lora"),
        models=models,
    )
    assert model(found)[0] == pytest.approx(offered)


async def test_a_pools_totals_serve_where_no_model_is_named() -> None:
    def pool(dispatched: float, rejected: float) -> str:
        base = "llm_d_epp_flow_control_requests_total"
        return (
            f'{base}{{inference_pool="pool",outcome="Dispatched",priority="0"}} {dispatched}\n'
            f'{base}{{inference_pool="pool",outcome="RejectedCapacity",priority="0"}} {rejected}\n'
        )

    found = await two_reads(queue(0) + pool(100, 0), queue(20) + pool(150, 30))
    assert model(found) == pytest.approx((8.0 + 2.0, 3.0, 20.0))


async def test_without_flow_control_it_is_what_was_handed_on_and_refused() -> None:
    def page_of(sent: float, refused: float, invalid: float) -> str:
        labels = 'model_name="m",target_model_name="m"'
        errors = "inference_objective_request_error_total"
        return (
            f"inference_objective_request_total{{{labels}}} {sent}\n"
            f'{errors}{{{labels},error_code="ResourceExhausted"}} {refused}\n'
            f'{errors}{{{labels},error_code="BadRequest"}} {invalid}\n'
        )

    found = await two_reads(page_of(100, 0, 0), page_of(150, 30, 500))
    offered, turned_away, waiting = model(found)
    assert offered == pytest.approx(8.0)
    assert turned_away == pytest.approx(3.0)
    assert waiting == Missing(Reason.NOT_EXPORTED)


async def test_a_gateway_that_counts_arrivals_is_taken_at_its_word() -> None:
    def page_of(started: float, waiting: float) -> str:
        return (
            f'dynamo_frontend_requests_started_total{{model="m"}} {started}\n'
            f'dynamo_frontend_queued_requests{{model="m"}} {waiting}\n'
        )

    found = await two_reads(page_of(100, 0), page_of(200, 90))
    assert model(found)[0] == pytest.approx(10.0)
    assert model(found)[2] == 90.0


async def test_a_queue_that_has_emptied_is_empty_and_not_unknown() -> None:
    # The series of a flow is deleted when nothing of it waits any more.
    found = await two_reads(queue(10) + outcomes(100, 0), outcomes(130, 0))
    assert model(found) == pytest.approx((3.0 - 1.0, 0.0, 0.0))


async def test_the_first_request_of_a_sleeping_model_is_seen() -> None:
    async with (
        PageServer({"/metrics": page("llm_d_epp_ready_endpoints 0\n")}) as server,
        Running(settings_of(server.url)) as run,
    ):
        before = await run.collect()
        server.answers["/metrics"] = page(queue(1))
        after = await run.collect(after_s=0.5)
    assert model(before)[2] == Missing(Reason.NOT_EXPORTED)
    assert model(after)[2] == 1.0


async def test_models_are_told_apart_by_their_names() -> None:
    a, b = (LABELS.replace('"m"', f'"{name}"') for name in ("m", "n"))
    found = await two_reads(
        queue(1, labels=a) + queue(5, labels=b) + outcomes(0, 0) + outcomes(0, 0, name="n"),
        queue(1, labels=a) + queue(5, labels=b) + outcomes(50, 0) + outcomes(90, 10, name="n"),
        models=("m", "n"),
    )
    assert model(found, 0) == pytest.approx((5.0, 0.0, 1.0))
    assert model(found, 1) == pytest.approx((10.0, 1.0, 5.0))


async def test_one_name_in_two_namespaces_cannot_be_told_apart() -> None:
    found = await two_reads(
        queue(1) + outcomes(0, 0), queue(1) + outcomes(50, 0), models=("m", "m")
    )
    assert model(found, 0)[0] == Missing(Reason.NOT_EXPORTED)
    assert model(found, 1)[0] == Missing(Reason.NOT_EXPORTED)


async def test_routers_add_up_and_a_standby_adds_nothing() -> None:
    async with PageServer() as one, PageServer() as two, PageServer() as standby:
        standby.answers["/metrics"] = page("llm_d_epp_ready_endpoints 3\n")
        for server in (one, two):
            server.answers["/metrics"] = page(queue(0) + outcomes(0, 0))
        async with Running(settings_of(one.url, two.url, standby.url)) as run:
            await run.collect()
            one.answers["/metrics"] = page(queue(10) + outcomes(40, 0))
            two.answers["/metrics"] = page(queue(20) + outcomes(30, 0))
            found = await run.collect()
            assert model(found) == pytest.approx((10.0, 0.0, 30.0))
            # A sum of which one part can no longer be read is not less: it is unknown.
            two.answers["/metrics"] = hang()
            await run.collect()
            lost = await run.collect(after_s=40.0)
    assert model(lost)[0] == Missing(Reason.TIMEOUT)
    assert lost.faults[0].source == two.url


async def test_a_queue_that_shrinks_is_no_restart() -> None:
    found = await two_reads(queue(50) + outcomes(100, 0), queue(10) + outcomes(160, 0))
    assert model(found)[0] == pytest.approx(6.0 - 4.0)


async def test_a_routers_restart_counts_from_zero() -> None:
    found = await two_reads(queue(50) + outcomes(1000, 0), queue(10) + outcomes(20, 0))
    assert model(found)[0] == pytest.approx(2.0 + 1.0)


@needs_notes
async def test_the_sample_of_the_notes() -> None:
    text = samples()["3.10"][0]
    more = text.replace(
        'outcome="Dispatched",priority="0"} 5210', 'outcome="Dispatched",priority="0"} 5310'
    )
    found = await two_reads(text, more, models=("llama-3.1-8b",))
    assert model(found) == pytest.approx((10.0, 0.0, 7.0))


async def test_the_token_is_sent_and_read_anew(tmp_path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    async with PageServer({"/metrics": page(queue(1))}) as server:
        more = f", bearer_token_file: {token}"
        async with Running(settings_of(server.url, more=more)) as run:
            await run.collect()
            token.write_text("second\n")
            await run.collect()
            token.unlink()
            broken = await run.collect()
    assert "Authorization: Bearer first\r\n" in server.heads[0]
    assert "Authorization: Bearer second\r\n" in server.heads[1]
    assert len(server.heads) == 2
    assert "can't be read" in broken.faults[0].message
    assert "second" not in broken.faults[0].message


async def test_other_settings_keep_the_windows_of_routers() -> None:
    async with (
        PageServer({"/metrics": page(queue(0) + outcomes(0, 0))}) as server,
        Running(settings_of(server.url)) as run,
    ):
        await run.collect()
        server.answers["/metrics"] = page(queue(0) + outcomes(50, 0))
        await run.collector.reconfigure(settings_of(server.url, more=", bearer_token_file: null"))
        kept = await run.collect()
        await run.collector.reconfigure(settings_of(server.url, models=("m", "n")))
        await run.collect()
        none = await run.collector.collect()
    assert model(kept)[0] == pytest.approx(5.0)
    assert model(none)[0] == Missing(Reason.ONE_SCRAPE)
