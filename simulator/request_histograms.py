"""What vLLM observes once per ended request; its bucket bounds.

Counts by the front end's rules: histograms take finished requests, an aborted one leaves
no trace in them. Source of the rules and bounds: vLLM 0.32's exposition.
"""

from dataclasses import dataclass, field

from .engine import RequestStatus
from .live import EndedRequest
from .prometheus_text import Histogram

__all__ = ["RequestHistograms", "token_bounds"]

LATENCY_BOUNDS_S = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0,
    40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
PREEMPTION_BOUNDS = (1, 2, 3, 4, 5, 10, 20)
PARAMS_N_BOUNDS = (1, 2, 5, 10, 20)
HTTP_HIGHR_BOUNDS_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0,
    2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0,
)  # fmt: skip
HTTP_LOWR_BOUNDS_S = (0.1, 0.5, 1.0)

# Bytes of a completion request: JSON around the prompt, and the prompt per token.
REQUEST_BYTES = 120
BYTES_PER_TOKEN = 4


def token_bounds(max_model_len: int) -> tuple[int, ...]:
    """Return 1, 2, 5, 10, 20, 50, ... up to `max_model_len`."""
    bounds: list[int] = []
    scale = 1
    while True:
        for digit in (1, 2, 5):
            if digit * scale > max_model_len:
                return tuple(bounds)
            bounds.append(digit * scale)
        scale *= 10


def _latencies() -> Histogram:
    return Histogram(LATENCY_BOUNDS_S)


@dataclass(slots=True)
class RequestHistograms:
    """One engine's request families and those of the HTTP server before it."""

    max_model_len: int
    itl_bounds_s: tuple[float, ...]
    ttft_constant_s: float
    e2e_s: Histogram = field(default_factory=_latencies)
    queue_s: Histogram = field(default_factory=_latencies)
    inference_s: Histogram = field(default_factory=_latencies)
    prefill_s: Histogram = field(default_factory=_latencies)
    decode_s: Histogram = field(default_factory=_latencies)
    preemptions: Histogram = field(default_factory=lambda: Histogram(PREEMPTION_BOUNDS))
    params_n: Histogram = field(default_factory=lambda: Histogram(PARAMS_N_BOUNDS))
    http_highr_s: Histogram = field(default_factory=lambda: Histogram(HTTP_HIGHR_BOUNDS_S))
    http_lowr_s: Histogram = field(default_factory=lambda: Histogram(HTTP_LOWR_BOUNDS_S))
    tpot_s: Histogram = field(init=False)
    prompt_tokens: Histogram = field(init=False)
    computed_tokens: Histogram = field(init=False)
    output_tokens: Histogram = field(init=False)
    finished: int = 0
    rejected: int = 0
    hung_up: int = 0
    request_bytes: int = 0

    def __post_init__(self) -> None:
        """Start empty."""
        tokens = token_bounds(self.max_model_len)
        self.tpot_s = Histogram(self.itl_bounds_s)
        self.prompt_tokens = Histogram(tokens)
        self.computed_tokens = Histogram(tokens)
        self.output_tokens = Histogram(tokens)

    def observe(self, request: EndedRequest) -> None:
        """Count one ended request."""
        self.request_bytes += REQUEST_BYTES + BYTES_PER_TOKEN * request.prompt_tokens
        duration_s = request.finish_s - request.arrival_s
        self.http_highr_s.observe(duration_s)
        self.http_lowr_s.observe(duration_s)
        if request.status is RequestStatus.REJECTED:
            self.rejected += 1
        elif request.status is RequestStatus.TIMED_OUT:
            self.hung_up += 1  # the engine records nothing, the server in front of it an answer
        else:
            self._observe_finished(request, e2e_s=duration_s)

    def _observe_finished(self, request: EndedRequest, *, e2e_s: float) -> None:
        self.finished += 1
        decode_s = request.finish_s - request.first_token_s
        inference_s = request.finish_s - self.ttft_constant_s - request.scheduled_s
        intervals = request.output_tokens - 1
        self.e2e_s.observe(e2e_s)
        self.queue_s.observe(request.scheduled_s - request.arrival_s)
        self.inference_s.observe(inference_s)
        self.prefill_s.observe(inference_s - decode_s)
        self.decode_s.observe(decode_s)
        self.tpot_s.observe(decode_s / intervals if intervals else 0.0)
        self.preemptions.observe(request.preemptions)
        self.params_n.observe(1)
        self.prompt_tokens.observe(request.prompt_tokens)
        self.computed_tokens.observe(request.prompt_tokens - request.cached_tokens)
        self.output_tokens.observe(request.output_tokens)
