"""The adapter's own Prometheus metrics: what it decided, from what, and what that cost.

Per-variant numbers are read from the publication in force when Prometheus asks, so
nothing is kept twice; a number that isn't known has no sample. What happens between two
scrapes (ticks, failures, requests) is counted as it happens.

The served gauges differ from the API in one point: while a decision is refused, the API
answers 503, but these go on with the held figure, max(last decision, current replicas).
A series that disappears is read as 0 by KEDA's `prometheus` trigger, whose
`ignoreNullValues` is true by default, and the workload would be scaled down.
"""

import platform
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from .clock import Clock
from .records import SourceFault, TickReport
from .variant_metrics import StoreView, VariantCollector

__all__ = ["Telemetry", "source_kind"]

_TICK_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SOURCE_KINDS = ("prometheus", "router", "discovery", "kubernetes")


class Telemetry:
    """Counts what happens, and registers what can be read from the store.

    Parameters
    ----------
    registry : CollectorRegistry
        What is served at /metrics; everything is registered there and nowhere else.
    store : StoreView
        Where the publication in force is read from.
    clock : Clock
    version : str
        The adapter's version, for `wva_build_info`.
    leads : callable
        Whether this replica is the one that decides.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        store: StoreView,
        clock: Clock,
        version: str,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self.registry = registry
        self._store = store
        self._settings_error = ""
        self._tick_s = Histogram(
            "wva_tick_duration_seconds",
            "Time that a tick of the decision loop took, by phase.",
            ["phase"],
            buckets=_TICK_BUCKETS_S,
            registry=registry,
        )
        self._tick_errors = _counter(
            "wva_tick_errors_total", "Ticks of the decision loop that failed.", registry
        )
        self._scrapes = _counter(
            "wva_scrapes_total", "Engine replicas that were read, once per tick each.", registry
        )
        self._source_errors = _counter(
            "wva_source_errors_total",
            "Failed readings, by kind of source and reason.",
            registry,
            ["source_kind", "reason"],
        )
        self._reload_failures = _counter(
            "wva_settings_reload_failures_total",
            "Changed settings files that could not be used; the old settings stayed in force.",
            registry,
        )
        self._requests = _counter(
            "wva_requests_total",
            "Requests answered, by server and by HTTP or gRPC status code.",
            registry,
            ["server", "code"],
        )
        self._streams = Gauge(
            "wva_keda_open_streams", "Open gRPC streams of KEDA.", registry=registry
        )
        Gauge(
            "wva_build_info",
            "1; what is running, in labels.",
            ["version", "python"],
            registry=registry,
        ).labels(version, platform.python_version()).set(1)
        registry.register(_LoopCollector(store, clock))
        Gauge(
            "wva_leader",
            "1 for the replica that decides, whose figures of variants count; 0 for the others.",
            registry=registry,
        ).set_function(lambda: float(leads()))
        registry.register(VariantCollector(store, clock, leads=leads))
        ProcessCollector(registry=registry)

    async def follow(self) -> None:
        """Count every publication's tick, until cancelled."""
        sequence = 0
        while True:
            sequence = await self._store.changed(sequence)
            edition = self._store.edition
            if edition is not None:
                self.observe(edition.publication.report)

    def tick_failed(self) -> None:
        """Count a tick that came to no decision."""
        self._tick_errors.inc()

    def observe(self, report: TickReport) -> None:
        """Count one tick."""
        for phase, seconds in (
            ("collect", report.collect_s),
            ("decide", report.decide_s),
            ("encode", report.encode_s),
        ):
            self._tick_s.labels(phase).observe(seconds)
        self._scrapes.inc(report.scrapes)
        for fault in report.faults:
            self._source_errors.labels(source_kind(fault), reason_word(fault)).inc()
        # Every tick repeats the fault of a file that stays broken: one failure, not many.
        if report.settings_error and report.settings_error != self._settings_error:
            self._reload_failures.inc()
        self._settings_error = report.settings_error

    def request_counter(self, server: str) -> Callable[[str], None]:
        """Return a function that counts one answer of `server` by its status code."""
        children: dict[str, Counter] = {}

        def count(code: str) -> None:
            child = children.get(code)
            if child is None:
                child = children[code] = self._requests.labels(server, code)
            child.inc()

        return count

    def watch_api_service(self, foreign: Callable[[], bool]) -> None:
        """Report whether the APIService is somebody else's."""
        Gauge(
            "wva_api_service_foreign",
            "1 while the APIService of external metrics leads to somebody else's Service.",
            registry=self.registry,
        ).set_function(lambda: float(foreign()))

    def watch_streams(self, count: Callable[[], int]) -> None:
        """Report as open streams whatever `count` returns at a scrape."""
        self._streams.set_function(count)


class _LoopCollector:
    """What the last publication says of the loop, its sources and its settings."""

    def __init__(self, store: StoreView, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        """Yield the families without samples, for the registry to notice clashes."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """Yield the families; before the first publication only that there was none."""
        families = publications, age, variants, reload_error, fault_age = self._families()
        publications.add_metric([], self._store.sequence)
        edition = self._store.edition
        if edition is not None:
            now_s, publication = self._clock.monotonic_s(), edition.publication
            age.add_metric([], now_s - edition.received_s)
            variants.add_metric([], len(publication.variants))
            reload_error.add_metric([], 1.0 if publication.report.settings_error else 0.0)
            oldest: dict[tuple[str, str], float] = {}
            for fault in publication.report.faults:
                kind = source_kind(fault), reason_word(fault)
                oldest[kind] = min(oldest.get(kind, now_s), fault.since_s)
            for kind, since_s in oldest.items():
                fault_age.add_metric(kind, now_s - since_s)
        yield from families

    @staticmethod
    def _families() -> tuple[
        CounterMetricFamily,
        GaugeMetricFamily,
        GaugeMetricFamily,
        GaugeMetricFamily,
        GaugeMetricFamily,
    ]:
        return (
            CounterMetricFamily("wva_publications", "Decisions received from the loop."),
            GaugeMetricFamily(
                "wva_publication_age_seconds", "Time since the last decision was received."
            ),
            GaugeMetricFamily("wva_variants", "Variants in the last decision."),
            GaugeMetricFamily(
                "wva_settings_reload_error",
                "1 while the settings file can't be used and older settings are in force.",
            ),
            GaugeMetricFamily(
                "wva_source_fault_age_seconds",
                "How long the longest failing source has failed, by kind and reason.",
                labels=["source_kind", "reason"],
            ),
        )


def source_kind(fault: SourceFault) -> str:
    """Return what kind of source failed; its address would be a label without bound."""
    named = next((kind for kind in _SOURCE_KINDS if fault.source.startswith(kind)), None)
    return named or ("endpoint" if "://" in fault.source else "other")


def reason_word(fault: SourceFault) -> str:
    """Return the reason as a label value."""
    return fault.reason.name.lower()


def _counter(
    name: str, help_text: str, registry: CollectorRegistry, labels: list[str] | None = None
) -> Counter:
    return Counter(name, help_text, labels or [], registry=registry)
