"""The `http_*` families of the server before the engine: those of its instrumentator.

Requests to the completions endpoint alone are counted, as in a recording of the real one.
A streamed response has no Content-Length, so response sizes stay zero.
"""

from collections.abc import Callable, Sequence

from .prometheus_text import Family, counter, histogram, summary
from .request_histograms import HTTP_HIGHR_BOUNDS_S, HTTP_LOWR_BOUNDS_S
from .vllm_families import EngineMetrics

__all__ = ["http_families"]

HANDLER = "/v1/completions"
SIZE_HELP = (
    "Content length of {} by handler. Only value of header is respected. "
    "Otherwise ignored. No percentile calculated. "
)


def http_families(statuses: Sequence[str]) -> list[Family[EngineMetrics]]:
    """Return the families for a server that has answered with these classes of status."""
    seen = bool(statuses)
    handler = [{"handler": HANDLER}] * seen
    method = [{"handler": HANDLER, "method": "POST"}] * seen
    return [
        counter(
            "http_requests_total",
            "Total number of requests by method, status and handler.",
            lambda metrics: [_answered(metrics)[status] for status in statuses],
            *({"handler": HANDLER, "method": "POST", "status": status} for status in statuses),
        ),
        summary(
            "http_request_size_bytes",
            SIZE_HELP.format("incoming requests"),
            _if(seen, lambda metrics: (_count(metrics), metrics.requests.request_bytes)),
            *handler,
        ),
        summary(
            "http_response_size_bytes",
            SIZE_HELP.format("outgoing responses"),
            _if(seen, lambda metrics: (_count(metrics), 0.0)),
            *handler,
        ),
        histogram(
            "http_request_duration_highr_seconds",
            "Latency with many buckets but no API specific labels. "
            "Made for more accurate percentile calculations. ",
            HTTP_HIGHR_BOUNDS_S,
            lambda metrics: metrics.requests.http_highr_s.values(),
            {},
        ),
        histogram(
            "http_request_duration_seconds",
            "Latency with only few buckets by handler. "
            "Made to be only used if aggregation by handler is important. ",
            HTTP_LOWR_BOUNDS_S,
            _if(seen, lambda metrics: metrics.requests.http_lowr_s.values()),
            *method,
        ),
    ]


def answered_statuses(metrics: EngineMetrics) -> tuple[str, ...]:
    """Return the classes of status that the server has answered with."""
    return tuple(status for status, count in _answered(metrics).items() if count)


def _answered(metrics: EngineMetrics) -> dict[str, int]:
    # A stream has begun with its status before its client hangs up.
    requests = metrics.requests
    return {"2xx": requests.finished + requests.hung_up, "5xx": requests.rejected}


def _count(metrics: EngineMetrics) -> int:
    return sum(_answered(metrics).values())


def _if(
    seen: bool,  # noqa: FBT001 - private, and read beside its value
    read: Callable[[EngineMetrics], Sequence[float]],
) -> Callable[[EngineMetrics], Sequence[float]]:
    return read if seen else lambda _: ()
