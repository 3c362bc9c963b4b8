"""A ScaledObject per variant on a simulated world: KEDA's polls and pushes, and its HPA."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..hpa import Behavior
from ..keda import KedaState, ScaledObject, request_scale, served
from ..world import World
from .hpa_loop import SYNC_S, HpaLoop, Signal, hpa_specs
from .timetable import Timetable

__all__ = ["KedaLoop"]

# The smallest quantity, asks the HPA for one replica: from one to zero is KEDA's, not the HPA's.
LEAST = 1e-3


@dataclass(slots=True, eq=False)
class KedaLoop:
    """KEDA's operator and metrics server; `signal` is the trigger of each variant.

    A trigger is active where its value is above `activation`.
    """

    specs: Sequence[ScaledObject]
    signal: Signal
    activation: float = 0.0
    _states: list[KedaState] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with objects that were active just now: what serves isn't put to sleep at once."""
        self._states = [KedaState(last_active_s=0.0) for _ in self.specs]

    def poll(self, world: World) -> None:
        """Ask every trigger whether it is active, and wake or put to sleep."""
        for row, value in enumerate(self.signal(world)):
            active = None if value is None else value > self.activation
            self._request(world, row, active=active)

    def push(self, world: World) -> None:
        """Take what triggers say on their own: only that they are active."""
        for row, value in enumerate(self.signal(world)):
            if value is not None and value > self.activation:
                self._request(world, row, active=True)

    def metrics(self, world: World) -> list[float | None]:
        """Return what the HPA of each variant gets; it doesn't act on one that is at zero."""
        shown: list[float | None] = []
        for row, value in enumerate(self.signal(world)):
            replicas = int(world.wanted[row])
            given: float | None = None
            if replicas > 0:
                given, self._states[row] = served(
                    self._states[row], self.specs[row], value=value, replicas=replicas
                )
            shown.append(None if given is None else max(given, LEAST))
        return shown

    def on(self, timetable: Timetable, world: World, behavior: Behavior | None) -> None:
        """Put the polls and the HPA's syncs on a timetable."""
        hpa = HpaLoop(specs=hpa_specs(world, behavior, zero=True), signal=self.metrics)
        polling_s = min(spec.polling_s for spec in self.specs)
        timetable.every(polling_s, self.poll, first_s=polling_s)
        timetable.every(SYNC_S, hpa.sync, first_s=SYNC_S)

    def _request(self, world: World, row: int, *, active: bool | None) -> None:
        count, self._states[row] = request_scale(
            self._states[row],
            self.specs[row],
            replicas=int(world.wanted[row]),
            active=active,
            now_s=world.now_s,
        )
        world.scale(row, count)
