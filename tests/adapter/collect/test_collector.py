"""The collector over real connections: replicas, windows, and the faults of engines."""

import asyncio
import json
from typing import Self

import numpy as np
import pytest

from adapter.catalog import build_catalog
from adapter.collect import Collector
from adapter.config import Settings, parse_settings
from adapter.demand import replica_offered_rate_rps
from adapter.errors import ConfigError
from adapter.records import (
    MODEL_SIGNALS,
    REPLICA_SIGNALS,
    VARIANT_SIGNALS,
    Missing,
    Reason,
    ReplicaState,
    Snapshot,
)
from tests.helpers.clocks import ManualClock
from tests.helpers.pages import Answer, PageServer, cut, hang, page, reset

M = 'model_name="m"'


def engine(done: float = 0, *, running: float = 2, model: str = "m", extra: str = "") -> str:
    label = f'engine="0",model_name="{model}"'
    return (
        f"vllm:num_requests_running{{{label}}} {running}\n"
        f"vllm:num_requests_waiting{{{label}}} 0\n"
        f"vllm:kv_cache_usage_perc{{{label}}} 0.25\n"
        f"vllm:request_success_total{{{label}}} {done}\n{extra}"
    )


def settings_of(*endpoints: str, more: str = "", top: str = "") -> Settings:
    listed = ", ".join(f'"{url}"' for url in endpoints)
    return parse_settings(
        f"""
sources: {{scrape: {{timeout_s: 0.8}}}}
models: {{m: {{}}}}
variants:
  - {{name: a, model: m, accelerator: H100, endpoints: [{listed}]{more}}}
{top}
"""
    )


class Running:
    """A started collector with a clock that the test moves."""

    def __init__(self, settings: Settings) -> None:
        self.clock = ManualClock()
        self.collector = Collector(settings, self.clock)

    async def __aenter__(self) -> Self:
        await self.collector.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.collector.stop()

    async def collect(self, *, after_s: float = 5.0) -> Snapshot:
        self.clock.advance(after_s)
        return await self.collector.collect()


async def test_a_snapshot_keeps_the_contract() -> None:
    async with PageServer({"/metrics": page(engine(10))}) as server:
        settings = settings_of(server.url)
        async with Running(settings) as run:
            snapshot = await run.collect()
    catalog = build_catalog(settings)
    assert snapshot.variants == catalog.variants
    assert snapshot.models == catalog.models
    assert tuple(snapshot.replica) == REPLICA_SIGNALS
    assert tuple(snapshot.variant) == VARIANT_SIGNALS
    assert tuple(snapshot.model) == MODEL_SIGNALS
    assert snapshot.replica_id == (server.url,)
    assert snapshot.replica_state.tolist() == [ReplicaState.READY]
    assert snapshot.replica_age_s.tolist() == [0.0]
    assert snapshot.current_replicas.tolist() == [1]
    assert snapshot.ready_replicas.tolist() == [1]
    assert snapshot.dialect == ("vllm",)
    assert snapshot.faults == ()
    assert snapshot.model["offered_rate_rps"][0] == Missing(Reason.NOT_EXPORTED)


async def test_rates_need_two_scrapes_and_then_are_there() -> None:
    async with (
        PageServer({"/metrics": page(engine(10))}) as server,
        Running(settings_of(server.url)) as run,
    ):
        first = await run.collect()
        server.answers["/metrics"] = page(engine(60, running=12))
        second = await run.collect(after_s=10.0)
    assert first.replica["completion_rate_rps"][0] == Missing(Reason.ONE_SCRAPE)
    assert second.replica["completion_rate_rps"][0] == pytest.approx(5.0)
    assert second.replica["inflight_slope_rps"][0] == pytest.approx(1.0)
    assert second.replica["mean_running_requests"][0] == pytest.approx(7.0)


FAULTS = [
    pytest.param(page("", "500 Internal Server Error"), Reason.HTTP_STATUS, id="500"),
    pytest.param(hang(), Reason.TIMEOUT, id="hang"),
    pytest.param(reset(), Reason.RESET, id="reset"),
    pytest.param(cut(engine(70)), Reason.MALFORMED, id="half-a-body"),
    pytest.param(page(engine(70).rstrip("\n")[:-3]), Reason.MALFORMED, id="half-a-line"),
    pytest.param(page("\x00\x01<>\n"), Reason.MALFORMED, id="garbage"),
    pytest.param(page("a 1\n"), Reason.UNKNOWN, id="another-exporter"),
    pytest.param(page(b"#" * 2000 + b"\n", length=17 * 2**20), Reason.MALFORMED, id="oversized"),
]


@pytest.mark.parametrize(("misdeed", "reason"), FAULTS)
async def test_a_fault_is_its_targets_alone_and_recovery_is_by_itself(
    misdeed: Answer, reason: Reason
) -> None:
    async with PageServer() as bad, PageServer() as good:
        for server in (bad, good):
            server.answers["/metrics"] = page(engine(10))
        async with Running(settings_of(bad.url + "/metrics", good.url)) as run:
            await run.collect()
            bad.answers["/metrics"] = misdeed
            good.answers["/metrics"] = page(engine(20))
            broken = await run.collect()
            assert [(f.source, f.reason) for f in broken.faults] == [(bad.url + "/metrics", reason)]
            assert broken.replica["completion_rate_rps"][1] == pytest.approx(2.0)
            assert broken.replica_state.tolist() == [ReplicaState.READY] * 2
            since_s = broken.faults[0].since_s
            stale = await run.collect(after_s=40.0)
            # Its last reading is now too old; it is silent, and still there.
            assert stale.faults[0].since_s == since_s
            assert stale.current_replicas.tolist() == [2]
            assert stale.replica["running_requests"][0] == Missing(reason)
            assert stale.replica_age_s[0] == 45.0
            bad.answers["/metrics"] = page(engine(30))
            well = await run.collect()
            assert well.faults == ()
            assert well.replica["running_requests"][0] == 2.0
            assert well.replica_age_s.tolist() == [0.0, 0.0]


async def test_a_short_silence_leaves_the_last_reading_standing() -> None:
    async with (
        PageServer({"/metrics": page(engine(10, running=7))}) as server,
        Running(settings_of(server.url)) as run,
    ):
        await run.collect()
        server.answers["/metrics"] = page("", "500 Oops")
        snapshot = await run.collect(after_s=10.0)
    assert snapshot.replica["running_requests"][0] == 7.0
    assert snapshot.replica_age_s.tolist() == [10.0]
    assert snapshot.replica_state.tolist() == [ReplicaState.READY]


async def test_nan_is_missing_and_what_else_is_there_is_read() -> None:
    async with (
        PageServer({"/metrics": page(engine(10))}) as server,
        Running(settings_of(server.url)) as run,
    ):
        await run.collect()
        text = engine(20).replace(
            'perc{engine="0",model_name="m"} 0.25', 'perc{engine="0",model_name="m"} NaN'
        )
        server.answers["/metrics"] = page(text)
        snapshot = await run.collect()
    assert snapshot.replica["kv_usage_ratio"][0] == Missing(Reason.NOT_FINITE)
    assert snapshot.replica["completion_rate_rps"][0] == pytest.approx(2.0)


async def test_another_model_in_its_place_blanks_the_replica_at_once() -> None:
    async with (
        PageServer({"/metrics": page(engine(10))}) as server,
        Running(settings_of(server.url)) as run,
    ):
        await run.collect()
        await run.collect()
        server.answers["/metrics"] = page(engine(9999, model="other"))
        snapshot = await run.collect()
        assert snapshot.replica["running_requests"][0] == Missing(Reason.WRONG_MODEL)
        assert snapshot.replica_state.tolist() == [ReplicaState.READY]
        assert "'other'" in snapshot.faults[0].message
        assert "served_names" in snapshot.faults[0].message
        # Its own engine comes back: nothing of the other's is taken for a gain.
        server.answers["/metrics"] = page(engine(30))
        back = await run.collect()
        assert back.replica["completion_rate_rps"][0] == Missing(Reason.ONE_SCRAPE)


async def test_a_served_name_is_the_model() -> None:
    async with PageServer({"/metrics": page(engine(10, model="meta/M"))}) as server:
        text = f"""
models: {{m: {{served_names: [meta/m]}}}}
variants: [{{name: a, model: m, accelerator: H100, endpoints: ["{server.url}"]}}]
"""
        async with Running(parse_settings(text)) as run:
            snapshot = await run.collect()
    assert snapshot.replica["running_requests"][0] == 2.0


async def test_who_never_answered_is_starting_and_who_refuses_for_long_is_gone() -> None:
    async with PageServer({"/metrics": page(engine(1))}) as well, PageServer() as nobody:
        await nobody.stop()
        async with Running(settings_of(well.url, nobody.url)) as run:
            first = await run.collect()
            assert first.replica_state.tolist() == [ReplicaState.READY, ReplicaState.STARTING]
            assert first.ready_replicas.tolist() == [1]
            assert first.current_replicas.tolist() == [2]
            assert first.replica["running_requests"][1] == Missing(Reason.UNREACHABLE)
            assert np.isnan(first.replica_age_s[1])
            await well.stop()
            soon = await run.collect()
            assert soon.replica_state[0] == ReplicaState.READY
            late = await run.collect(after_s=60.0)
            assert late.replica_state[0] == ReplicaState.STARTING


@pytest.mark.parametrize(
    ("state", "noted"),
    [pytest.param("starting", False, id="starting"), pytest.param("ready", True, id="ready")],
)
async def test_only_who_should_answer_is_noted_as_failing(state: str, noted: bool) -> None:
    async with PageServer({"/metrics": page("", "503 Service Unavailable")}) as server:
        target = server.url.removeprefix("http://")
        groups = [{"targets": [target], "labels": {"variant": "a", "state": state}}]
        server.answers["/all"] = page(json.dumps(groups), content_type="application/json")
        settings = parse_settings(
            f"""
sources: {{discovery: {{url: "{server.url}/all"}}}}
models: {{m: {{}}}}
variants: [{{name: a, model: m, accelerator: H100}}]
"""
        )
        async with Running(settings) as run:
            snapshot = await run.collect()
    assert snapshot.replica["running_requests"][0] == Missing(Reason.HTTP_STATUS)
    assert bool(snapshot.faults) is noted


async def test_an_engine_that_hangs_does_not_hold_up_the_others() -> None:
    async with PageServer({"/metrics": hang()}) as stuck, PageServer() as well:
        well.answers["/metrics"] = page(engine(1))
        settings = parse_settings(
            f"""
sources: {{scrape: {{timeout_s: 0.2, max_concurrency: 1}}}}
models: {{m: {{}}}}
variants:
  - {{name: a, model: m, accelerator: H100, endpoints: ["{stuck.url}", "{well.url}"]}}
"""
        )
        async with Running(settings) as run:
            for _ in range(2):
                snapshot = await run.collect()
        # The one that failed is asked last.
        assert well.requests
        assert snapshot.replica["running_requests"][1] == 2.0
        assert [fault.reason for fault in snapshot.faults] == [Reason.TIMEOUT]


async def test_a_tick_ends_when_its_time_is_over_and_the_next_goes_on_with_the_rest() -> None:
    servers = [PageServer({"/metrics": hang()}) for _ in range(6)]
    for server in servers:
        await server.__aenter__()
    listed = ", ".join(f'"{server.url}"' for server in servers)
    settings = parse_settings(
        f"""
interval_s: 0.25
sources: {{scrape: {{timeout_s: 0.1, max_concurrency: 1}}}}
models: {{m: {{}}}}
variants: [{{name: a, model: m, accelerator: H100, endpoints: [{listed}]}}]
"""
    )
    async with Running(settings) as run:
        began = asyncio.get_running_loop().time()
        first = await run.collect()
        assert asyncio.get_running_loop().time() - began < 1.0
        assert any("had no turn" in fault.message for fault in first.faults)
        asked = {server.url for server in servers if server.requests}
        await run.collect()
        assert {server.url for server in servers if server.requests} > asked
    for server in servers:
        await server.__aexit__()


async def test_the_path_is_found_and_kept() -> None:
    trtllm = 'trtllm_num_requests_running{model_name="m"} 3\n'
    answers = {
        "/metrics": page("[]", content_type="application/json"),
        "/prometheus/metrics": page(trtllm),
    }
    async with (
        PageServer(dict(answers)) as one,
        PageServer(dict(answers)) as two,
        Running(settings_of(one.url)) as run,
    ):
        first = await run.collect()
        assert isinstance(first.replica["running_requests"][0], Missing)
        second = await run.collect()
        assert second.replica["running_requests"][0] == 3.0
        await run.collect()
        assert one.requests == ["/metrics", "/prometheus/metrics", "/prometheus/metrics"]
        # Another replica of the variant is asked at the path that was found.
        await run.collector.reconfigure(settings_of(one.url, two.url))
        await run.collect()
        await run.collect()
        assert two.requests[-1] == "/prometheus/metrics"


async def test_a_declared_path_is_used_as_it_is() -> None:
    async with (
        PageServer({"/x": page(engine(1))}) as server,
        Running(settings_of(server.url, more=", metrics_path: /x")) as run,
    ):
        snapshot = await run.collect()
    assert snapshot.replica["running_requests"][0] == 2.0
    assert server.requests == ["/x"]


async def test_other_settings_keep_the_windows_of_targets_that_stay() -> None:
    async with PageServer({"/metrics": page(engine(10))}) as one, PageServer() as two:
        two.answers["/metrics"] = page(engine(500))
        async with Running(settings_of(one.url)) as run:
            await run.collect()
            one.answers["/metrics"] = page(engine(20))
            await run.collector.reconfigure(
                settings_of(one.url, two.url, more=", max_replicas: 30")
            )
            snapshot = await run.collect()
            assert snapshot.replica["completion_rate_rps"][0] == pytest.approx(2.0)
            assert snapshot.replica["completion_rate_rps"][1] == Missing(Reason.ONE_SCRAPE)
            await run.collector.reconfigure(settings_of(two.url))
            two.answers["/metrics"] = page(engine(510))
            last = await run.collect()
            assert last.replica_id == (two.url,)
            assert last.replica["completion_rate_rps"][0] == pytest.approx(2.0)


async def test_settings_that_cannot_be_used_change_nothing() -> None:
    async with PageServer({"/metrics": page(engine(10))}) as server:
        good = settings_of(server.url)
        bad = settings_of(server.url, top="dialects: {x: {detect: [a], signals: {nonsense: a}}}")
        async with Running(good) as run:
            await run.collect()
            with pytest.raises(ConfigError, match="nonsense"):
                await run.collector.reconfigure(bad)
            server.answers["/metrics"] = page(engine(20))
            snapshot = await run.collect()
    assert snapshot.replica["completion_rate_rps"][0] == pytest.approx(2.0)


async def test_pods_come_and_go_by_discovery() -> None:
    async with PageServer() as pods:
        pods.answers |= {f"/{i}": page(engine(100 * i)) for i in range(4)}

        def listing(*names: int, state: str = "ready") -> Answer:
            address = pods.url.removeprefix("http://")
            groups = [
                {
                    "targets": [address],
                    "labels": {
                        "variant": "a",
                        "replica": f"pod-{i}",
                        "state": state,
                        "__metrics_path__": f"/{i}",
                    },
                }
                for i in names
            ]
            return page(json.dumps(groups))

        pods.answers["/sd"] = listing(0, 1)
        settings = parse_settings(
            f"""
sources: {{discovery: {{url: "{pods.url}/sd"}}}}
models: {{m: {{}}}}
variants: [{{name: a, model: m, accelerator: H100}}]
"""
        )
        async with Running(settings) as run:
            first = await run.collect()
            assert first.replica_id == ("default/pod-0", "default/pod-1")
            pods.answers["/sd"] = listing(1, 2)
            pods.answers["/1"] = page(engine(150))
            second = await run.collect()
            assert second.replica_id == ("default/pod-1", "default/pod-2")
            assert second.replica["completion_rate_rps"][0] == pytest.approx(10.0)
            assert second.replica["completion_rate_rps"][1] == Missing(Reason.ONE_SCRAPE)
            pods.answers["/sd"] = listing(1, state="draining")
            third = await run.collect()
            assert third.replica_state.tolist() == [ReplicaState.DRAINING]
            assert third.current_replicas.tolist() == [0]
            pods.answers["/sd"] = page("", "500 Oops")
            fourth = await run.collect()
            assert fourth.replica_id == third.replica_id
            assert fourth.faults[0].source.endswith("/sd")


async def test_three_times_overload_is_seen_within_a_tenth_over_the_wire() -> None:
    rng = np.random.default_rng(11)
    waiting = done = refused = 0
    async with PageServer() as server, Running(settings_of(server.url)) as run:
        for _ in range(14):
            arrived = int(rng.poisson(90.0))
            served = min(waiting + arrived, int(rng.poisson(30.0)))
            done += served
            waiting += arrived - served
            refused += max(0, waiting - 100)
            waiting = min(waiting, 100)
            extra = f'vllm:admission_rejections_total{{{M},reason="x"}} {refused}\n'
            text = engine(done, running=32, extra=extra)
            text = text.replace(
                'waiting{engine="0",model_name="m"} 0', f'waiting{{engine="0",{M}}} {waiting}'
            )
            server.answers["/metrics"] = page(text)
            snapshot = await run.collect(after_s=5.0)
    signals = snapshot.replica
    offered = replica_offered_rate_rps(
        arrivals=signals["arrival_rate_rps"],
        completions=signals["completion_rate_rps"],
        inflight_slope=signals["inflight_slope_rps"],
        rejections=signals["rejection_rate_rps"],
    )
    assert signals["completion_rate_rps"][0] == pytest.approx(6.0, rel=0.15)
    assert offered.values[0] == pytest.approx(18.0, rel=0.1)


async def test_a_demand_query_without_a_server_to_ask_is_told() -> None:
    async with PageServer({"/metrics": page(engine(10))}) as server:
        text = f"""
models: {{m: {{demand: {{arrivals_query: "sum(rate(x[1m]))"}}}}}}
variants: [{{name: a, model: m, accelerator: H100, endpoints: ["{server.url}"]}}]
"""
        async with Running(parse_settings(text)) as run:
            snapshot = await run.collect()
    assert snapshot.faults[0].source == "models.m.demand"
    assert "sources.prometheus" in snapshot.faults[0].message


async def test_no_variants_is_an_empty_snapshot() -> None:
    async with Running(parse_settings("{}")) as run:
        snapshot = await run.collect()
    assert snapshot.replica_id == ()
    assert len(snapshot.replica["running_requests"]) == 0
    assert len(snapshot.variant["ttft_mean_s"]) == 0
