"""Keeps the newest state, here for a loop that starts again, and in stores for a restart.

Stores are written when a decision changed, as often as each allows, and every `REFRESH_S`
for what was learned. A store that fails is told in the log and tried again; nothing else
waits for it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .clock import Clock
from .errors import AdapterError
from .kept_state import KeptState, StateStore
from .saved_state import Moment, SavedState, read_state
from .store import Store

__all__ = ["StateKeeper"]

logger = logging.getLogger(__name__)

REFRESH_S = 30.0


@dataclass(frozen=True, slots=True)
class _Latest:
    """A state with its age at a moment of this process's monotonic clock."""

    data: bytes
    age_s: float
    at_s: float


class StateKeeper:
    """Holds the newest state of this process, and looks after its copies.

    Parameters
    ----------
    stores : sequence of StateStore
        Where copies are; none: a restart begins anew.
    clock : Clock
    boot_id : str
        Of this machine's last start, "" if it can't be told.
    leads : callable
        Whether this replica decides: one that follows makes no copies of what it is told.
    refresh_s : float
        Time between two copies while decisions stay the same. [s]
    """

    def __init__(
        self,
        stores: Sequence[StateStore],
        clock: Clock,
        *,
        boot_id: str = "",
        leads: Callable[[], bool] = lambda: True,
        refresh_s: float = REFRESH_S,
    ) -> None:
        self._refresh_s, self._leads = refresh_s, leads
        self._stores = stores
        self._clock = clock
        self._boot_id = boot_id
        self._latest: _Latest | None = None
        self._sequence = 0
        self._next = asyncio.Event()

    def now(self) -> Moment:
        """Return now, on all clocks of this machine."""
        return Moment(
            boot_id=self._boot_id,
            monotonic_s=self._clock.monotonic_s(),
            unix_s=self._clock.unix_s(),
        )

    @property
    def latest(self) -> KeptState | None:
        """Return the newest state as old as it is now."""
        if self._latest is None:
            return None
        passed_s = self._clock.monotonic_s() - self._latest.at_s
        return KeptState(self._latest.data, self._latest.age_s + passed_s)

    def take(self, data: bytes, *, age_s: float = 0.0) -> None:
        """Hold `data`, which is `age_s` old, as the newest state; wake who waits for it."""
        self._latest = _Latest(data, age_s, self._clock.monotonic_s())
        self._sequence += 1
        waiting, self._next = self._next, asyncio.Event()
        waiting.set()

    async def changed(self, after: int) -> int:
        """Wait for a state later than the `after`-th; return the number of the newest."""
        while self._sequence <= after:
            await self._next.wait()
        return self._sequence

    async def restore(self, store: Store) -> None:
        """Take the youngest state that the stores have, and serve its publication, held.

        One that can't be used is told in the log; if none can, everything begins anew.
        """
        found = [kept for kept in [await self._load(place) for place in self._stores] if kept]
        if not found:
            return
        state, data, age_s = min(found, key=lambda kept: kept[2])
        self.take(data, age_s=age_s)
        now_s = self._clock.monotonic_s()
        publication = state.publication_at(now_s, age_s, restored=True)
        store.swap(publication, received_s=now_s)
        logger.info(
            "going on from a saved state",
            extra={"age_s": round(age_s, 1), "variants": len(publication.variants)},
        )

    async def run(self) -> None:
        """Write copies until cancelled; no store waits for another."""
        async with asyncio.TaskGroup() as group:
            for place in self._stores:
                group.create_task(self._copy(place))

    async def _copy(self, place: StateStore) -> None:
        sequence, decisions, saved_s = 0, "", 0.0
        while True:
            sequence = await self.changed(sequence)
            latest = self.latest
            if latest is None or not self._leads():
                continue
            told = read_state(latest.data).stamp.decisions
            now_s = self._clock.monotonic_s()
            if told != decisions or now_s - saved_s > self._refresh_s:
                if await _saved(place, latest.data):
                    decisions, saved_s = told, now_s
                await asyncio.sleep(place.spacing_s)

    async def save(self) -> None:
        """Write a copy of the newest state to every store now."""
        latest = self.latest
        if latest is None:
            return
        for place in self._stores:
            await _saved(place, latest.data)

    async def _load(self, place: StateStore) -> tuple[SavedState, bytes, float] | None:
        try:
            kept = await place.load()
            if kept is None:
                return None
            state = read_state(kept.data)
            state.publication()
        except AdapterError as exc:
            logger.warning("what %s keeps can't be used and is not: %s", place.place, exc)
            return None
        return state, kept.data, state.stamp.age_s(self.now(), kept_age_s=kept.age_s)


async def _saved(place: StateStore, data: bytes) -> bool:
    try:
        await place.save(data)
    except AdapterError as exc:
        logger.warning("a restart would not know of the last decisions: %s", exc)
        return False
    return True
