"""The same Snapshot out of Prometheus, and what becomes of it when Prometheus misbehaves."""

import json
import re
import ssl
from collections.abc import Iterable
from typing import Self
from urllib.parse import parse_qs

import httpx
import pytest

from adapter.collect import Collector
from adapter.collect.fleet import Group, Sighting
from adapter.collect.prometheus_api import failure_of
from adapter.config import Settings, parse_settings
from adapter.errors import ConfigError, SourceError
from adapter.records import (
    MODEL_SIGNALS,
    REPLICA_SIGNALS,
    VARIANT_SIGNALS,
    Missing,
    Reason,
    ReplicaState,
    Snapshot,
)
from tests.helpers.certificates import Authority
from tests.helpers.clocks import ManualClock
from tests.helpers.pages import Answer, PageServer, hang, page, reset

POD = {"namespace": "default", "pod": "a-0", "instance": "10.0.0.1:8000", "model_name": "m"}
OTHER = POD | {"pod": "a-1", "instance": "10.0.0.2:8000"}

Rows = list[tuple[dict[str, str], float | str]]


def vllm(*pods: dict[str, str]) -> dict[tuple[str, str], Rows]:
    """Return what a server knows of vLLM engines, by function and metric name."""

    def each(value: float | str, **labels: str) -> Rows:
        return [(pod | labels, value) for pod in pods]

    ttft = "vllm:time_to_first_token_seconds"
    return {
        ("timestamp", "vllm:num_requests_running"): each(3.5),
        ("", "vllm:num_requests_running"): each(4),
        ("", "vllm:num_requests_waiting"): each(1),
        ("", "vllm:kv_cache_usage_perc"): each(0.25),
        ("avg_over_time", "vllm:num_requests_running"): each(3),
        ("delta", "vllm:num_requests_running"): each(60),
        ("delta", "vllm:num_requests_waiting"): each(30),
        ("rate", "vllm:request_success_total"): each(2),
        ("rate", f"{ttft}_sum"): each(0.5),
        ("rate", f"{ttft}_count"): each(2.5),
        ("increase", f"{ttft}_bucket"): [
            row for le, n in (("0.1", 0), ("0.2", 75), ("0.4", 150), ("+Inf", 150)) for row in each(n, le=le)
        ],
        ("", "vllm:cache_config_info"): each(1, num_gpu_blocks="1000", block_size="16"),
    }  # fmt: skip


class FakePrometheus:
    """Answers queries from a table: what a function of a metric gives."""

    def __init__(self, known: dict[tuple[str, str], Rows]) -> None:
        self.known = known
        self.queries: list[str] = []
        self.misdeeds: list[tuple[str, Answer]] = []  # for queries that contain a text
        self.warnings: list[str] = []
        self.server = PageServer(respond=self.respond)

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.server.__aexit__(*error)

    def respond(self, path: str, head: str, body: bytes) -> Answer:
        assert head.startswith("POST ")
        assert path == "/api/v1/query"
        text = parse_qs(body.decode())["query"][0]
        self.queries.append(text)
        for part, answer in self.misdeeds:
            if part in text:
                return answer
        return result(self.rows(text), self.warnings)

    def rows(self, text: str) -> Rows:
        if "__name__" in text:
            return [({"__name__": name}, 1) for name in {name for _, name in self.known}]
        bare = re.sub(r"\{[^}]*\}", "", text)
        found: Rows = []
        for (function, name), rows in self.known.items():
            ranged = function and f"{function}({name}[60s])" in bare
            instant = re.search(rf"(?<!timestamp)\({name}\)", bare) if not function else None
            aged = function == "timestamp" and f"timestamp({name})" in bare
            if ranged or instant or aged:
                found += rows
        return found


def result(rows: Rows, warnings: Iterable[str] = ()) -> Answer:
    vector = [{"metric": labels, "value": [1.7e9, str(value)]} for labels, value in rows]
    data = {"resultType": "vector", "result": vector}
    content: dict[str, object] = {"status": "success", "data": data}
    if warnings:
        content["warnings"] = list(warnings)
    return page(json.dumps(content), content_type="application/json")


SERIES = "series: {namespace: default, model_name: m}"


def settings_of(url: str, *, variant: str = SERIES, source: str = "", top: str = "") -> Settings:
    return parse_settings(
        f"""
sources: {{prometheus: {{url: "{url}", timeout_s: 1.5, window_s: 60{source}}}}}
models: {{m: {{{top}}}}}
variants: [{{name: a, model: m, accelerator: H100, {variant}}}]
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

    async def collect(self, *, after_s: float = 5.0) -> Snapshot:
        self.clock.advance(after_s)
        return await self.collector.collect()


async def test_the_snapshot_has_the_same_form_and_readings() -> None:
    async with (
        FakePrometheus(vllm(POD, OTHER)) as fake,
        Running(settings_of(fake.server.url)) as run,
    ):
        found = await run.collect()
    assert tuple(found.replica) == REPLICA_SIGNALS
    assert tuple(found.variant) == VARIANT_SIGNALS
    assert tuple(found.model) == MODEL_SIGNALS
    assert found.replica_id == ("default/a-0", "default/a-1")
    assert found.replica_state.tolist() == [ReplicaState.READY] * 2
    assert found.replica_age_s.tolist() == [3.5, 3.5]
    assert found.dialect == ("vllm",)
    assert found.faults == ()
    assert found.current_replicas.tolist() == [-1]
    for name, value in {
        "running_requests": 4.0,
        "waiting_requests": 1.0,
        "kv_usage_ratio": 0.25,
        "kv_capacity_tokens": 16_000.0,
        "mean_running_requests": 3.0,
        "completion_rate_rps": 2.0,
        "inflight_slope_rps": 1.5,
        "first_token_rate_rps": 2.5,
        "ttft_mean_s": 0.2,
    }.items():
        assert found.replica[name][1] == pytest.approx(value), name
    assert found.variant["ttft_mean_s"][0] == pytest.approx(0.2)
    assert found.variant["ttft_p50_s"][0] == pytest.approx(0.2)
    assert found.variant["ttft_p90_s"][0] == pytest.approx(0.36)
    assert found.replica["rejection_rate_rps"][0] == Missing(Reason.NOT_EXPORTED)


async def test_the_number_of_queries_does_not_grow_with_the_pods() -> None:
    async with FakePrometheus(vllm(POD)) as few, Running(settings_of(few.server.url)) as run:
        await run.collect()
    pods = [POD | {"pod": f"a-{i}", "instance": f"10.0.1.{i}:8000"} for i in range(50)]
    async with FakePrometheus(vllm(*pods)) as many, Running(settings_of(many.server.url)) as run:
        found = await run.collect()
    assert len(found.replica_id) == 50
    assert len(many.queries) == len(few.queries)


async def test_endpoints_are_found_by_their_instance() -> None:
    variant = "endpoints: ['http://10.0.0.1:8000', 'http://10.0.0.9:8000']"
    async with (
        FakePrometheus(vllm(POD)) as fake,
        Running(settings_of(fake.server.url, variant=variant)) as run,
    ):
        found = await run.collect()
    assert found.replica_id == ("http://10.0.0.1:8000", "http://10.0.0.9:8000")
    assert found.replica["running_requests"][0] == 4.0
    assert found.replica["running_requests"][1] == Missing(Reason.NOT_READ_YET)
    assert found.replica_state.tolist() == [ReplicaState.READY, ReplicaState.STARTING]
    assert found.current_replicas.tolist() == [2]
    assert found.ready_replicas.tolist() == [1]


async def test_ports_of_one_pod_are_one_replica() -> None:
    second = POD | {"instance": "10.0.0.1:8001"}
    async with (
        FakePrometheus(vllm(POD, second)) as fake,
        Running(settings_of(fake.server.url)) as run,
    ):
        found = await run.collect()
    assert found.replica_id == ("default/a-0",)
    assert found.replica["running_requests"][0] == 8.0
    assert found.replica["kv_usage_ratio"][0] == 0.25
    assert found.replica["completion_rate_rps"][0] == 4.0


async def test_another_model_is_told() -> None:
    variant = "series: {namespace: default}"
    async with (
        FakePrometheus(vllm(POD | {"model_name": "other"})) as fake,
        Running(settings_of(fake.server.url, variant=variant)) as run,
    ):
        found = await run.collect()
    assert found.replica["running_requests"][0] == Missing(Reason.WRONG_MODEL)
    assert [f.reason for f in found.faults] == [Reason.WRONG_MODEL]
    assert "served_names" in found.faults[0].message


async def test_nan_and_absent_are_missing_with_different_reasons() -> None:
    known = vllm(POD, OTHER)
    known["", "vllm:kv_cache_usage_perc"] = [(POD, "NaN")]
    known["rate", "vllm:request_success_total"] = [(POD, "+Inf")]
    known["rate", "vllm:time_to_first_token_seconds_count"] = [(POD, 0), (OTHER, 0)]
    async with FakePrometheus(known) as fake, Running(settings_of(fake.server.url)) as run:
        found = await run.collect()
    assert found.replica["kv_usage_ratio"][0] == Missing(Reason.NOT_FINITE)
    assert found.replica["kv_usage_ratio"][1] == Missing(Reason.NOT_EXPORTED)
    assert found.replica["completion_rate_rps"][0] == Missing(Reason.NOT_FINITE)
    # vLLM's completions are born with the first: a pod without the series has had none.
    assert found.replica["completion_rate_rps"][1] == 0.0
    assert found.replica["ttft_mean_s"][0] == Missing(Reason.NO_EVENTS)


async def test_a_reading_too_old_at_its_source_is_stale() -> None:
    known = vllm(POD)
    known["timestamp", "vllm:num_requests_running"] = [(POD, 120.0)]
    async with FakePrometheus(known) as fake, Running(settings_of(fake.server.url)) as run:
        found = await run.collect()
    assert found.replica_age_s.tolist() == [120.0]
    assert found.replica["running_requests"][0] == Missing(Reason.STALE)


async def test_a_pod_that_disappears_is_silent_first_and_gone_later() -> None:
    async with (
        FakePrometheus(vllm(POD, OTHER)) as fake,
        Running(settings_of(fake.server.url)) as run,
    ):
        await run.collect()
        fake.known = vllm(POD)
        soon = await run.collect()
        assert soon.replica_id == ("default/a-0", "default/a-1")
        assert soon.replica["running_requests"][1] == Missing(Reason.STALE)
        assert soon.replica_state.tolist() == [ReplicaState.READY] * 2
        assert soon.replica_age_s.tolist() == [3.5, 8.5]
        late = await run.collect(after_s=60.0)
        assert late.replica_id == ("default/a-0",)


async def test_series_of_a_pod_that_the_cluster_has_deleted_decide_nothing() -> None:
    """Prometheus answers for a deleted pod for minutes; the cluster knows better."""
    here = Group(namespace="default", variant="a", replica="a-0", state=ReplicaState.READY, urls=())
    key = ("default", "a")
    sighting = Sighting(groups={key: (here,)}, current={key: 1}, ready={key: 1})
    async with (
        FakePrometheus(vllm(POD, OTHER)) as fake,
        Running(settings_of(fake.server.url)) as run,
    ):
        before = await run.collect()
        run.collector.see(sighting)
        after = await run.collect()
    assert before.replica_id == ("default/a-0", "default/a-1")
    assert after.replica_id == ("default/a-0",)
    assert after.replica["running_requests"][0] == 4.0
    assert (after.current_replicas.tolist(), after.ready_replicas.tolist()) == ([1], [1])


async def test_a_warning_is_told_and_nobody_is_forgotten_on_it() -> None:
    async with (
        FakePrometheus(vllm(POD, OTHER)) as fake,
        Running(settings_of(fake.server.url)) as run,
    ):
        await run.collect()
        fake.known, fake.warnings = vllm(POD), ["store-1 is unavailable"]
        late = await run.collect(after_s=60.0)
    assert late.replica_id == ("default/a-0", "default/a-1")
    assert late.replica["running_requests"][0] == 4.0
    assert "store-1" in late.faults[0].message


DOWN = [
    pytest.param(hang(), Reason.TIMEOUT, id="slow"),
    pytest.param(reset(), Reason.UNREACHABLE, id="reset"),
    pytest.param(page("", "503 Service Unavailable"), Reason.HTTP_STATUS, id="503"),
    pytest.param(page('{"status":"error","error":"too many samples"}', "422 Unprocessable"), Reason.HTTP_STATUS, id="422"),
    pytest.param(page("", "302 Found", Location="/login"), Reason.HTTP_STATUS, id="redirect"),
    pytest.param(page("<html>"), Reason.MALFORMED, id="html"),
    pytest.param(page('{"status":"success"}'), Reason.MALFORMED, id="no-data"),
    pytest.param(page('{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1]}]}}'), Reason.MALFORMED, id="no-value"),
    pytest.param(page('{"status":"success","data":{"resultType":"matrix","result":[]}}'), Reason.MALFORMED, id="matrix"),
    pytest.param(page('{"status":"success","data":{"resultType":"vector","result":[]}}', length=10_000), Reason.MALFORMED, id="half-a-body"),
]  # fmt: skip


@pytest.mark.parametrize(("misdeed", "reason"), DOWN)
async def test_while_prometheus_fails_all_stands_and_grows_old(
    misdeed: Answer, reason: Reason
) -> None:
    async with FakePrometheus(vllm(POD)) as fake, Running(settings_of(fake.server.url)) as run:
        await run.collect()
        fake.misdeeds = [("", misdeed)]
        soon = await run.collect()
        assert soon.faults[0].source == "prometheus"
        assert soon.faults[0].reason is reason
        assert soon.replica["running_requests"][0] == 4.0
        assert soon.replica_age_s.tolist() == [8.5]
        late = await run.collect(after_s=60.0)
        assert late.replica_id == ("default/a-0",)
        assert late.replica["running_requests"][0] == Missing(reason)
        assert late.faults[0].since_s == soon.faults[0].since_s
        fake.misdeeds = []
        well = await run.collect()
        assert well.faults == ()
        assert well.replica["running_requests"][0] == 4.0


async def test_prometheus_down_from_the_start() -> None:
    async with FakePrometheus(vllm(POD)) as fake:
        url = fake.server.url
    async with Running(settings_of(url)) as run:
        found = await run.collect()
    assert found.replica_id == ()
    assert found.faults[0].reason is Reason.UNREACHABLE


async def test_one_query_that_fails_leaves_the_other_signals_alone() -> None:
    async with FakePrometheus(vllm(POD)) as fake, Running(settings_of(fake.server.url)) as run:
        fake.misdeeds = [("rate(vllm:request_success_total", page("", "500 Oops"))]
        found = await run.collect()
    assert found.replica["completion_rate_rps"][0] == Missing(Reason.HTTP_STATUS)
    assert found.replica["running_requests"][0] == 4.0
    assert found.replica["first_token_rate_rps"][0] == 2.5
    assert re.match(r"1 of \d+ queries failed; rate:completions", found.faults[0].message)


async def test_underscored_names_are_found_and_asked_for() -> None:
    known = {(f, n.replace(":", "_")): rows for (f, n), rows in vllm(POD).items()}
    async with FakePrometheus(known) as fake, Running(settings_of(fake.server.url)) as run:
        found = await run.collect()
    assert found.replica["running_requests"][0] == 4.0
    assert found.replica["kv_capacity_tokens"][0] == 16_000.0


async def test_ranks_with_one_size_are_counted_and_not_merged() -> None:
    known = vllm(POD)
    known["", "vllm:cache_config_info"] = [(POD | {"kv_cache_size_tokens": "16000"}, 4)]
    async with FakePrometheus(known) as fake, Running(settings_of(fake.server.url)) as run:
        found = await run.collect()
    assert found.replica["kv_capacity_tokens"][0] == 64_000.0


async def test_the_settings_conditions_and_namespaces_narrow_every_query() -> None:
    source = ", labels: {cluster: east}"
    async with (
        FakePrometheus(vllm(POD)) as fake,
        Running(settings_of(fake.server.url, source=source)) as run,
    ):
        await run.collect()
    engine_queries = [q for q in fake.queries if "llm_d_epp" not in q]
    assert all('cluster="east"' in query for query in engine_queries)
    assert all('namespace=~"default"' in query for query in engine_queries)


async def test_demand_by_the_settings_own_queries() -> None:
    top = "demand: {arrivals_query: 'sum(gateway_arrivals)', rejections_query: gateway_refused}"
    known = vllm(POD) | {
        ("", "gateway_arrivals"): [({}, 12.5)],
        ("", "gateway_refused"): [({"code": "429"}, 1.5), ({"code": "503"}, 0.5)],
    }
    async with FakePrometheus(known) as fake, Running(settings_of(fake.server.url, top=top)) as run:
        fake.misdeeds = [("gateway_refused", result(known["", "gateway_refused"]))]
        found = await run.collect()
        assert found.model["offered_rate_rps"][0] == 12.5
        assert found.model["router_rejection_rate_rps"][0] == 2.0
        assert found.model["router_queue_requests"][0] == Missing(Reason.NOT_EXPORTED)
        fake.misdeeds = [("gateway", result([]))]
        empty = await run.collect()
        assert empty.model["offered_rate_rps"][0] == Missing(Reason.NO_EVENTS)
        fake.misdeeds = [("gateway", result([({}, "NaN")]))]
        nan = await run.collect()
        assert nan.model["offered_rate_rps"][0] == Missing(Reason.NOT_FINITE)
        fake.misdeeds = [("gateway", page("", "500 Oops"))]
        broken = await run.collect()
        assert broken.model["offered_rate_rps"][0] == Missing(Reason.HTTP_STATUS)
        assert broken.faults[0].source == "prometheus: demand queries"


async def test_a_routers_metrics_through_prometheus() -> None:
    labels = {"namespace": "default", "target_model_name": "m", "inference_pool": "p"}
    base = "flow_control_request_queue_duration_seconds_count"
    known = vllm(POD)
    for prefix in ("llm_d_epp", "inference_extension"):  # both families at once
        known |= {
            ("", f"{prefix}_flow_control_queue_size"): [(labels, 30)],
            ("delta", f"{prefix}_flow_control_queue_size"): [(labels, 120)],
            ("rate", f"{prefix}_{base}"): [(labels, 9)],
        }
    async with FakePrometheus(known) as fake, Running(settings_of(fake.server.url)) as run:
        found = await run.collect()
    assert found.model["offered_rate_rps"][0] == pytest.approx(9.0 + 2.0)
    assert found.model["router_queue_requests"][0] == 30.0


async def test_power_is_that_of_the_gpus_that_work_for_the_variant() -> None:
    gpu = {"exported_namespace": "default", "exported_pod": "a-0", "namespace": "dcgm", "pod": "x"}
    known = vllm(POD)
    known["", "DCGM_FI_DEV_POWER_USAGE"] = [
        (gpu, 412.5),
        ({"namespace": "default", "pod": "b"}, 99.0),
    ]
    async with FakePrometheus(known) as fake, Running(settings_of(fake.server.url)) as run:
        found = await run.collect()
    assert found.variant["power_w"][0] == 412.5


async def test_the_token_is_sent_and_read_anew(tmp_path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    source = f", bearer_token_file: {token}"
    async with (
        FakePrometheus(vllm(POD)) as fake,
        Running(settings_of(fake.server.url, source=source)) as run,
    ):
        await run.collect()
        assert all("Bearer first\r\n" in head for head in map(_as_sent, fake.server.heads))
        fake.server.heads.clear()
        token.write_text("second")
        await run.collect()
        assert all("Bearer second\r\n" in head for head in map(_as_sent, fake.server.heads))
        token.write_text("")
        broken = await run.collect()
    assert broken.faults[0].reason is Reason.HTTP_STATUS
    assert "is empty" in broken.faults[0].message


def _as_sent(head: str) -> str:
    return head.replace("authorization: ", "Authorization: ")


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_private_ca_is_trusted_if_it_is_given(tmp_path, trusted: bool) -> None:
    authority = Authority("prometheus-ca")
    cert_file, key_file = authority.issue("prometheus").write(tmp_path, "server")
    ca_file = tmp_path / "ca.crt"
    ca_file.write_bytes(authority.pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert_file, key_file)
    fake = FakePrometheus(vllm(POD))
    fake.server.tls = context
    source = f", ca_file: {ca_file}" if trusted else ""
    async with fake, Running(settings_of(fake.server.url, source=source)) as run:
        found = await run.collect()
    if trusted:
        assert found.replica["running_requests"][0] == 4.0
    else:
        assert found.faults[0].reason is Reason.UNREACHABLE
        assert "certificate" in found.faults[0].message.lower()


def test_a_ca_that_is_none_is_a_fault_of_the_settings(tmp_path) -> None:
    (tmp_path / "ca.crt").write_text("nonsense")
    source = f", ca_file: {tmp_path / 'ca.crt'}"
    with pytest.raises(ConfigError, match=r"ca\.crt"):
        Collector(settings_of("https://h", source=source), ManualClock())


async def test_settings_with_a_bad_ca_change_nothing(tmp_path) -> None:
    async with FakePrometheus(vllm(POD)) as fake, Running(settings_of(fake.server.url)) as run:
        await run.collect()
        source = f", ca_file: {tmp_path / 'absent.crt'}"
        with pytest.raises(ConfigError, match="absent"):
            await run.collector.reconfigure(settings_of(fake.server.url, source=source))
        found = await run.collect()
    assert found.replica["running_requests"][0] == 4.0


async def test_from_scraping_to_prometheus_and_back() -> None:
    engine = 'vllm:num_requests_running{model_name="m"} 9\n'
    async with FakePrometheus(vllm(POD)) as fake, PageServer({"/metrics": page(engine)}) as pod:
        direct = parse_settings(
            f"models: {{m: {{}}}}\n"
            f'variants: [{{name: a, model: m, accelerator: H100, endpoints: ["{pod.url}"]}}]'
        )
        async with Running(direct) as run:
            assert (await run.collect()).replica["running_requests"][0] == 9.0
            await run.collector.reconfigure(settings_of(fake.server.url))
            assert (await run.collect()).replica["running_requests"][0] == 4.0
            await run.collector.reconfigure(direct)
            assert (await run.collect()).replica["running_requests"][0] == 9.0


def _httpx_errors() -> list[type[Exception]]:
    def below(kind: type[Exception]) -> Iterable[type[Exception]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    return [*below(httpx.HTTPError), *below(httpx.InvalidURL), *below(httpx.StreamError)]


@pytest.mark.parametrize("kind", _httpx_errors(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_library_is_one_of_ours(kind: type[Exception]) -> None:
    mute = type(kind.__name__, (kind,), {"__str__": lambda _: "broken"})
    found = failure_of(mute.__new__(mute))
    assert found.reason in {Reason.UNREACHABLE, Reason.MALFORMED, Reason.TIMEOUT}
    assert isinstance(found.error, SourceError)
