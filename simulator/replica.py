"""One emulated replica: it starts, serves, drains, stops; and what its `/metrics` says."""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from . import state
from .engine import EngineSpec
from .exposition import Exposition
from .live import EndedRequest, LiveEngine
from .request_histograms import RequestHistograms
from .vllm_families import EngineMetrics, ServedModel

__all__ = ["Replica", "ReplicaState", "Variant"]


class ReplicaState(StrEnum):
    """A replica's life, in order."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One (model, accelerator, engine settings); `weight` is its share in routing by load."""

    name: str
    namespace: str = "default"
    model: str
    accelerator: str
    engine: EngineSpec
    max_model_len: int
    cold_start_s: float
    weight: float = 1.0


@dataclass(slots=True, kw_only=True)
class Replica:
    """One replica and its engine, which runs from `ready_s` on."""

    name: str
    variant: Variant
    created_s: float
    ready_s: float
    state: ReplicaState = ReplicaState.STARTING
    stops_by_s: float = math.inf
    seed: int = 0
    _live: LiveEngine = field(init=False)
    _requests: RequestHistograms = field(init=False)
    _exposition: Exposition | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Prepare an engine that waits for its first request."""
        spec = self.variant.engine
        self._live = LiveEngine(spec, start_s=self.ready_s, seed=self.seed)
        self._requests = RequestHistograms(
            max_model_len=self.variant.max_model_len,
            itl_bounds_s=state.ITL_BOUNDS_S,
            ttft_constant_s=spec.ttft_constant_s,
        )

    @property
    def in_flight(self) -> int:
        """Requests that it has been sent and that have not ended."""
        return self._live.in_flight

    @property
    def weight(self) -> float:
        """How much it can hold, against the others."""
        return self.variant.weight

    @property
    def engine(self) -> LiveEngine:
        """The engine, for its gauges."""
        return self._live

    def submit(
        self,
        key: int,
        *,
        arrival_s: float,
        prompt_tokens: int,
        output_tokens: int,
        cached_tokens: int,
    ) -> None:
        """Send it a request that reaches the engine at `arrival_s`."""
        self._live.submit(
            key,
            arrival_s=arrival_s,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            cached_tokens=cached_tokens,
        )

    def advance(self, until_s: float) -> list[EndedRequest]:
        """Run up to `until_s`; return the requests that ended."""
        if self.state not in {ReplicaState.READY, ReplicaState.DRAINING}:
            return []
        ended = self._live.advance(until_s)
        for request in ended:
            self._requests.observe(request)
        return ended

    def metrics_page(self, *, unix_offset_s: float) -> bytes:
        """Return its `/metrics`; `unix_offset_s` turns the engine's time into Unix time."""
        if self._exposition is None:
            model = ServedModel(name=self.variant.model, max_model_len=self.variant.max_model_len)
            self._exposition = Exposition(
                model, self.variant.engine, start_unix_s=self.ready_s + unix_offset_s
            )
        return self._exposition.render(EngineMetrics(engine=self._live, requests=self._requests))
