"""The plain-HTTP side door: /metrics for Prometheus, /livez, /healthz and /readyz for probes.

Ready means that there was a decision to serve, once. It follows neither the readings behind
it nor the loop: if it did, engines being down, or one process, would take every pod out of
the Service, the APIService would be unavailable, and instead of a 503 that says why, HPA
would get none, while namespace deletions hang in the whole cluster. For the same reason who
waits for a first decision for minutes is ready, to say so; until then reads go to replicas
that have one, and a new version that never decides takes nobody's place in time.
"""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import gzip_accepted
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from .clock import Clock
from .openmetrics import expose, gzipped
from .records import Freshness
from .store import Edition, Store

__all__ = ["FIRST_WITHIN_S", "Readiness", "build_health_app"]

FIRST_WITHIN_S = 300.0


class Readiness:
    """Whether requests should be sent here, and why not."""

    def __init__(
        self, store: Store, clock: Clock, *, notes: Callable[[], Sequence[str]] = tuple
    ) -> None:
        self._store = store
        self._clock = clock
        self._notes = notes
        self._started_s = clock.monotonic_s()
        self._draining = False

    def drain(self) -> None:
        """Stop being ready, for good."""
        self._draining = True

    def failures(self) -> tuple[str, ...]:
        """Return why requests should go elsewhere; nothing when ready."""
        draining = "draining: this process is shutting down" if self._draining else ""
        return tuple(reason for reason in (draining, self._waiting()) if reason)

    def checks(self) -> tuple[str, ...]:
        """Return every check with its outcome, and what is amiss but keeps nobody from asking.

        That is variants that are held or refused, and what `notes` says.
        """
        failed = tuple(f"[-]{reason}" for reason in self.failures())
        failed += tuple(f"[!]{note}" for note in (*self._notes(), *self._silence()))
        edition = self._store.edition
        if edition is None:
            return failed
        count = len(edition.publication.variants)
        received = f"[+]publication: {count} variants, {self._age_s(edition):.1f} s old"
        return (*failed, received, *self._stale(edition))

    def _age_s(self, edition: Edition) -> float:
        return self._clock.monotonic_s() - edition.received_s

    def _waiting(self) -> str:
        """Return that the first decision is still to come, while it may be."""
        waited_s = self._clock.monotonic_s() - self._started_s
        if self._store.edition is not None or waited_s > FIRST_WITHIN_S:
            return ""
        return "publication: none yet; the first follows the first reading of the engines"

    def _silence(self) -> tuple[str, ...]:
        edition = self._store.edition
        if edition is None:
            waited_s = self._clock.monotonic_s() - self._started_s
            late = f"publication: still none after {waited_s:.0f} s; the log says why"
            return (late,) if waited_s > FIRST_WITHIN_S else ()
        age_s, limit_s = self._age_s(edition), edition.publication.max_decision_age_s
        if age_s <= limit_s:
            return ()
        silent = f"publication: the decision loop has sent nothing for {age_s:.0f} s"
        return (f"{silent}, above max_decision_age_s of {limit_s:g} s; its log says why",)

    def _stale(self, edition: Edition) -> tuple[str, ...]:
        now_s, publication = self._clock.monotonic_s(), edition.publication
        rows: dict[Freshness, list[int]] = {Freshness.HELD: [], Freshness.REFUSED: []}
        for row in range(len(publication.variants)):
            rows.get(edition.freshness(row, now_s), []).append(row)
        return tuple(
            f"[!]{state.name.lower()}: {len(some)} variants, the first is "
            f"{publication.variants[some[0]].namespace}/{publication.variants[some[0]].name}"
            + (f": {publication.message[some[0]]}" if publication.message[some[0]] else "")
            for state, some in rows.items()
            if some
        )


def build_health_app(
    registry: CollectorRegistry,
    readiness: Readiness,
    *,
    served: Callable[[str], None] | None = None,
) -> Starlette:
    """Return the application; `served` is told the status code of each answer to a scrape."""

    async def metrics(request: Request) -> Response:
        exposition = expose(registry, request.headers.get("accept", ""))
        body, headers = exposition.body, {"content-type": exposition.content_type}
        headers["vary"] = "Accept, Accept-Encoding"
        if gzip_accepted(request.headers.get("accept-encoding", "")):
            body, headers["content-encoding"] = gzipped(body), "gzip"
        if served is not None:
            served("200")
        return StreamingResponse(body, headers=headers)

    async def alive(request: Request) -> Response:
        verbose = "verbose" in request.query_params
        return _text(
            200, ["[+]event loop: it answered this", "livez check passed"] if verbose else ["ok"]
        )

    async def ready(request: Request) -> Response:
        failures = readiness.failures()
        if failures:
            return _text(503, [*readiness.checks(), "readyz check failed"])
        if "verbose" in request.query_params:
            return _text(200, [*readiness.checks(), "readyz check passed"])
        return _text(200, ["ok"])

    routes = [
        Route("/metrics", metrics),
        Route("/livez", alive),
        Route("/healthz", alive),
        Route("/readyz", ready),
    ]
    return Starlette(routes=routes)


def _text(status: int, lines: Sequence[str]) -> Response:
    headers = {"cache-control": "no-cache, private", "x-content-type-options": "nosniff"}
    return PlainTextResponse("\n".join(lines), status_code=status, headers=headers)
