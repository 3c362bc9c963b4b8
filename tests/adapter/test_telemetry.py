"""The adapter's own metrics: names that are promised, numbers that are the publication's."""

import asyncio
import contextlib
import math
import re

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from adapter.metric_families import DETAILS, FAMILIES
from adapter.publish import SERVED_METRICS
from adapter.records import Reason, SourceFault
from adapter.store import Store
from adapter.telemetry import Telemetry
from tests.helpers.clocks import ManualClock
from tests.helpers.publications import publication_of, report_of

# A promise to dashboards and alerts: name, type, label names beside the variant's own.
PINNED = {
    "wva_leader": ("gauge", ()),
    "wva_build_info": ("gauge", ("python", "version")),
    "wva_capacity_requests_per_second": ("gauge", ()),
    "wva_cost_per_hour": ("gauge", ("replicas",)),
    "wva_current_replicas": ("gauge", ()),
    "wva_decision_binding": ("gauge", ("constraint",)),
    "wva_decision_brake": ("gauge", ("brake",)),
    "wva_decision_freshness": ("gauge", ("state",)),
    "wva_demand_requests_per_second": ("gauge", ()),
    "wva_desired_ratio": ("gauge", ()),
    "wva_desired_replicas": ("gauge", ()),
    "wva_desired_traffic_ratio": ("gauge", ()),
    "wva_engine_requests": ("gauge", ("state",)),
    "wva_fallback_can_lower": ("gauge", ()),
    "wva_hpa_limit": ("gauge", ("reason",)),
    "wva_hpa_nudge_replicas": ("gauge", ()),
    "wva_keda_open_streams": ("gauge", ()),
    "wva_kv_usage_ratio": ("gauge", ()),
    "wva_measured_itl_seconds": ("gauge", ("statistic",)),
    "wva_measured_ttft_seconds": ("gauge", ("statistic",)),
    "wva_planned_requests_per_second": ("gauge", ()),
    "wva_power_watts": ("gauge", ("kind",)),
    "wva_predicted_itl_seconds": ("gauge", ("statistic",)),
    "wva_predicted_ttft_seconds": ("gauge", ("statistic",)),
    "wva_prefix_hit_ratio": ("gauge", ()),
    "wva_publication_age_seconds": ("gauge", ()),
    "wva_publications": ("counter", ()),
    "wva_reading_age_seconds": ("gauge", ()),
    "wva_ready_replicas": ("gauge", ()),
    "wva_recommended_replicas": ("gauge", ()),
    "wva_bound_replicas": ("gauge", ("bound",)),
    "wva_replicas_stuck": ("gauge", ("reason",)),
    "wva_request_tokens_mean": ("gauge", ("part",)),
    "wva_requests": ("counter", ("code", "server")),
    "wva_scrapes": ("counter", ()),
    "wva_settings_reload_error": ("gauge", ()),
    "wva_settings_reload_failures": ("counter", ()),
    "wva_slo_itl_seconds": ("gauge", ()),
    "wva_slo_percentile_ratio": ("gauge", ()),
    "wva_slo_ttft_seconds": ("gauge", ()),
    "wva_source_errors": ("counter", ("reason", "source_kind")),
    "wva_source_fault_age_seconds": ("gauge", ("reason", "source_kind")),
    "wva_tick_duration_seconds": ("histogram", ("phase",)),
    "wva_tick_errors": ("counter", ()),
    "wva_utilization": ("gauge", ()),
    "wva_variant_info": ("gauge", ("mode", "model_name", "service_class")),
    "wva_variants": ("gauge", ()),
}
VARIANT_LABELS = {"variant_name", "namespace", "accelerator_type"}
FAULT = SourceFault(
    source="http://10.0.0.7:8000/metrics", reason=Reason.TIMEOUT, message="m", since_s=900.0
)


class Rig:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock, metrics=SERVED_METRICS)
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry(
            self.registry, store=self.store, clock=self.clock, version="1.2.3"
        )

    def publish(self, desired, **changes) -> None:
        publication = publication_of(desired, **changes)
        self.store.swap(publication, received_s=self.clock.monotonic_s())
        self.telemetry.observe(publication.report)

    def families(self):
        text = generate_latest(self.registry).decode()
        return {f.name: f for f in text_string_to_metric_families(text)}

    def samples(self, name) -> dict[tuple[str, ...], float]:
        """Return values by the labels beside the variant's own."""
        return {
            tuple(v for k, v in sorted(s.labels.items()) if k not in VARIANT_LABELS): s.value
            for family in self.families().values()
            for s in family.samples
            if s.name == name
        }

    def value(self, name, *labels) -> float:
        return self.samples(name)[labels]


@pytest.fixture
def rig():
    return Rig()


def full(rig) -> None:
    """Make something of everything happen."""
    details = {column: 1.0 for family in DETAILS for column in family.columns.values()}
    held = {"hpa_limit": "ScaleUpLimit: its policy", "stuck": "stockout: chat-1"}
    texts = {"brake": "WarmUp", "mode": "active", **held}
    rig.publish(
        {"default/llama": 5.0}, details=details, texts=texts, report=report_of(faults=(FAULT,))
    )
    rig.store.edition.publication.values["wva_utilization"][:] = 0.7
    rig.store.edition.publication.values["wva_desired_traffic_ratio"][:] = 1.0
    rig.telemetry.request_counter("keda")("OK")


def test_names_types_and_labels_are_pinned(rig):
    full(rig)
    got = {}
    for name, family in rig.families().items():
        if name.startswith("wva_") and not name.endswith("_created"):
            labels = set().union(*(set(s.labels) for s in family.samples)) - {"le"}
            got[name] = (family.type, tuple(sorted(labels - VARIANT_LABELS)))
    assert got == PINNED


def test_names_carry_base_units_and_helps_are_sentences(rig):
    full(rig)
    for name, family in rig.families().items():
        assert not re.search(r"_(ms|milliseconds|minutes|mb|gb|kw|percent)\b", name)
        if name.startswith("wva_"):
            assert family.documentation.endswith("."), name
            assert family.documentation[0].isupper() or family.documentation[0] == "1", name


def test_the_process_itself_is_measured(rig):
    assert rig.value("process_resident_memory_bytes") > 1e6


def test_nothing_is_said_of_variants_before_the_first_publication(rig):
    families = rig.families()
    assert not {family.name for family in FAMILIES} & set(families)
    assert rig.value("wva_publications_total") == 0
    assert rig.samples("wva_publication_age_seconds") == {}


def test_served_gauges_have_the_labels_that_wva_queries_select_on(rig):
    rig.publish({"default/llama": 5.0}, labels={"controller_instance": "blue"})
    (sample,) = rig.families()["wva_desired_replicas"].samples
    assert sample.labels == {
        "variant_name": "llama",
        "namespace": "default",
        "accelerator_type": "H100",
        "controller_instance": "blue",
    }
    assert sample.value == 5.0


def test_two_variants_are_two_samples(rig):
    rig.publish({"a/llama": 5.0, "b/llama": 7.0})
    got = {
        (s.labels["namespace"], s.labels["variant_name"]): s.value
        for s in rig.families()["wva_desired_replicas"].samples
    }
    assert got == {("a", "llama"): 5.0, ("b", "llama"): 7.0}


def test_what_is_not_known_has_no_sample(rig):
    details = {"predicted.ttft_s": math.nan, "predicted.ttft_mean_s": 0.1}
    rig.publish({"default/llama": 5.0}, details=details, age_s=math.inf)
    assert rig.samples("wva_predicted_ttft_seconds") == {("mean",): 0.1}
    assert rig.samples("wva_utilization") == {}
    assert rig.samples("wva_power_watts") == {}
    assert rig.samples("wva_reading_age_seconds") == {}


def test_an_unbounded_prediction_is_infinite(rig):
    rig.publish({"default/llama": 5.0}, details={"predicted.ttft_s": math.inf})
    assert rig.value("wva_predicted_ttft_seconds", "slo") == math.inf


@pytest.mark.parametrize(
    ("later_s", "desired", "ratio", "state"),
    [
        pytest.param(0.0, 1.0, 0.25, "fresh", id="fresh"),
        pytest.param(40.0, 4.0, 1.0, "held", id="held-does-not-fall"),
        pytest.param(700.0, 4.0, 1.0, "refused", id="refused-does-not-disappear"),
    ],
)
def test_served_gauges_never_fall_or_vanish_with_age(rig, later_s, desired, ratio, state):
    rig.publish({"default/llama": 1.0}, current=4.0, age_s=1.0)
    rig.clock.advance(later_s)
    assert rig.value("wva_desired_replicas") == desired
    assert rig.value("wva_desired_ratio") == ratio
    assert rig.value("wva_current_replicas") == 4.0
    assert rig.value("wva_reading_age_seconds") == 1.0 + later_s
    assert rig.value("wva_publication_age_seconds") == later_s
    states = rig.samples("wva_decision_freshness")
    assert states == {(s,): float(s == state) for s in ("fresh", "held", "refused")}


def test_binding_and_brake_are_one_sample_each(rig):
    rig.publish({"default/llama": 1.0}, texts={"brake": "WarmUp"})
    assert rig.samples("wva_decision_binding") == {("Demand",): 1.0}
    assert rig.samples("wva_decision_brake") == {("WarmUp",): 1.0}
    rig.publish({"default/llama": 1.0}, texts={"brake": "None"})
    assert rig.samples("wva_decision_brake") == {}


def test_what_holds_replicas_back_is_told_by_its_reason_alone(rig):
    texts = {"hpa_limit": "ScaleUpLimit: the desired count", "stuck": "stockout: chat-1 and 3 more"}
    rig.publish({"default/llama": 1.0}, texts={"brake": "None", **texts})
    assert rig.samples("wva_hpa_limit") == {("ScaleUpLimit",): 1.0}
    assert rig.samples("wva_replicas_stuck") == {("stockout",): 1.0}
    rig.publish({"default/llama": 1.0}, texts={"brake": "None", "hpa_limit": "", "stuck": ""})
    assert rig.samples("wva_hpa_limit") == rig.samples("wva_replicas_stuck") == {}


def test_a_fallback_that_can_lower_replicas_is_a_sample(rig):
    texts = {"brake": "None", "fallback_risk": "fallback static to 1 can lower replicas"}
    rig.publish({"default/llama": 1.0}, texts=texts)
    assert rig.value("wva_fallback_can_lower") == 1.0
    rig.publish({"default/llama": 1.0}, texts={"brake": "None", "fallback_risk": ""})
    assert rig.samples("wva_fallback_can_lower") == {}


def test_ticks_are_timed_by_phase(rig):
    rig.publish({"default/llama": 1.0}, report=report_of(collect_s=0.2, decide_s=0.03, scrapes=7))
    rig.publish({"default/llama": 1.0}, report=report_of(collect_s=0.4, decide_s=0.03, scrapes=7))
    assert rig.value("wva_tick_duration_seconds_count", "collect") == 2
    assert rig.value("wva_tick_duration_seconds_sum", "collect") == pytest.approx(0.6)
    assert rig.value("wva_tick_duration_seconds_sum", "decide") == pytest.approx(0.06)
    assert rig.value("wva_scrapes_total") == 14
    assert rig.value("wva_publications_total") == 2


def test_failed_ticks_are_counted(rig):
    rig.publish({"default/llama": 1.0})
    rig.telemetry.tick_failed()
    assert rig.value("wva_tick_errors_total") == 1


def test_source_errors_by_kind_and_reason_and_never_by_address(rig):
    faults = (
        FAULT,
        SourceFault(source="http://b/metrics", reason=Reason.TIMEOUT, message="m", since_s=990.0),
        SourceFault(source="prometheus", reason=Reason.HTTP_STATUS, message="m", since_s=980.0),
        SourceFault(source="something else", reason=Reason.MALFORMED, message="m", since_s=999.0),
    )
    rig.publish({"default/llama": 1.0}, report=report_of(faults=faults))
    rig.publish({"default/llama": 1.0}, report=report_of(faults=faults[:1]))
    assert rig.samples("wva_source_errors_total") == {
        ("timeout", "endpoint"): 3,
        ("http_status", "prometheus"): 1,
        ("malformed", "other"): 1,
    }
    assert rig.samples("wva_source_fault_age_seconds") == {("timeout", "endpoint"): 100.0}
    rig.publish({"default/llama": 1.0})
    assert rig.samples("wva_source_fault_age_seconds") == {}


def test_a_broken_settings_file_is_one_failure_until_it_is_mended(rig):
    for error in ("bad a", "bad a", "", "bad b"):
        rig.publish({"default/llama": 1.0}, report=report_of(settings_error=error))
    assert rig.value("wva_settings_reload_failures_total") == 2
    assert rig.value("wva_settings_reload_error") == 1
    rig.publish({"default/llama": 1.0})
    assert rig.value("wva_settings_reload_error") == 0


def test_requests_are_counted_by_server_and_code(rig):
    api, keda = (
        rig.telemetry.request_counter("external_metrics"),
        rig.telemetry.request_counter("keda"),
    )
    for code in ("200", "200", "404"):
        api(code)
    keda("UNAVAILABLE")
    assert rig.samples("wva_requests_total") == {
        ("200", "external_metrics"): 2,
        ("404", "external_metrics"): 1,
        ("UNAVAILABLE", "keda"): 1,
    }


def test_open_streams_are_read_at_the_scrape(rig):
    streams = [1, 2, 3]
    rig.telemetry.watch_streams(lambda: len(streams))
    assert rig.value("wva_keda_open_streams") == 3
    streams.clear()
    assert rig.value("wva_keda_open_streams") == 0


def test_build_info(rig):
    (sample,) = rig.families()["wva_build_info"].samples
    assert (sample.labels["version"], sample.value) == ("1.2.3", 1.0)


async def test_follow_counts_each_publication():
    rig = Rig()
    following = asyncio.ensure_future(rig.telemetry.follow())
    for turn in range(3):
        await asyncio.sleep(0)
        publication = publication_of({"default/llama": 1.0}, report=report_of(scrapes=5))
        rig.store.swap(publication, received_s=rig.clock.monotonic_s())
        await asyncio.sleep(0.01)
        assert rig.value("wva_scrapes_total") == 5 * (turn + 1)
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following


def test_a_second_telemetry_on_the_same_registry_is_refused(rig):
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Telemetry(rig.registry, store=rig.store, clock=rig.clock, version="1")


def test_an_empty_publication_is_no_error(rig):
    rig.publish({})
    assert rig.value("wva_variants") == 0
    assert rig.samples("wva_desired_replicas") == {}


@pytest.mark.parametrize("leads", [True, False])
def test_only_the_leader_has_series_of_variants(leads):
    clock, registry = ManualClock(), CollectorRegistry()
    store = Store(clock, metrics=SERVED_METRICS)
    Telemetry(registry, store=store, clock=clock, version="1", leads=lambda: leads)
    store.swap(publication_of({"lab/a": 3.0}), received_s=clock.monotonic_s())
    page = generate_latest(registry).decode()
    assert ("wva_desired_replicas{" in page) is leads
    assert f"wva_leader {float(leads)}" in page
    # That it isn't stale can be seen of every replica.
    assert "wva_publication_age_seconds 0.0" in page
