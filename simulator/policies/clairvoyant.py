"""Who knows the future: the cheapest schedule for the true demand and the true cold starts.

On slots of 10 s, the cheapest mix that carries the rate with some headroom; each further
replica is asked for a cold start before it is needed, and kept over gaps that are shorter
than a cold start, since restarting it would cost as much. The headroom is raised in steps of
5 % until attainment is 99 % or nothing helps (design 5): `headroom_ratio` is one step's.
"""

import itertools
import math

import numpy as np

from optimizer import FloatArray, IntArray

from ..world import World
from .schedule import Fleet, capacities_rps, cheapest_counts, fleets

__all__ = ["Clairvoyant"]

SLOT_S = 10.0
LEAST_LEAD = 1.2  # of the mean cold start, since starts vary


class Clairvoyant:
    """Follows a schedule that was made before the first request."""

    def __init__(self, world: World, *, headroom_ratio: float = 0.0) -> None:
        slots = math.ceil(world.scenario.duration_s / SLOT_S)
        self._counts = np.zeros((len(world.variants), slots), dtype=np.int64)
        for fleet in fleets(world):
            self._plan(world, fleet, headroom_ratio)
        world.provision(self._counts[:, 0].tolist())
        self.next_s = SLOT_S

    def act(self, world: World) -> None:
        """Ask for what the schedule says."""
        slot = min(round(world.now_s / SLOT_S), self._counts.shape[1] - 1)
        for row in range(len(world.variants)):
            world.scale(row, int(self._counts[row, slot]))
        self.next_s += SLOT_S

    def _plan(self, world: World, fleet: Fleet, headroom_ratio: float) -> None:
        slots = self._counts.shape[1]
        rate = _slot_peaks(world.demand[fleet.model].rate_rps, slots)
        needed = np.zeros((len(fleet.rows), slots), dtype=np.int64)
        known: dict[tuple[float, ...], IntArray] = {}
        for slot in range(slots):
            carried = capacities_rps(world, fleet, slot * SLOT_S)
            key = (float(rate[slot]), *carried.tolist())
            if key not in known:
                known[key] = cheapest_counts(
                    fleet, carried.tolist(), key[0] * (1.0 + headroom_ratio)
                )
            needed[:, slot] = known[key]
        for place, row in enumerate(fleet.rows):
            lead = math.ceil(LEAST_LEAD * world.variants[row].cold_start.mean_s / SLOT_S)
            self._counts[row] = _bridged(_ahead(needed[place], lead), lead)


def _slot_peaks(rate_rps: FloatArray, slots: int) -> FloatArray:
    width = int(SLOT_S)
    padded = np.zeros(slots * width)
    count = min(len(rate_rps), len(padded))
    padded[:count] = rate_rps[:count]
    return np.asarray(padded.reshape(slots, width).max(axis=1), dtype=np.float64)


def _ahead(needed: IntArray, lead: int) -> IntArray:
    """Return the largest need of each slot and the `lead` after it."""
    padded = np.concatenate([needed, np.full(lead, needed[-1])])
    windows = np.lib.stride_tricks.sliding_window_view(padded, lead + 1)
    return np.asarray(windows.max(axis=1), dtype=np.int64)


def _bridged(counts: IntArray, gap: int) -> IntArray:
    """Return the counts with every dip that is shorter than `gap` slots filled."""
    result = counts.copy()
    for level in range(1, int(counts.max(initial=0)) + 1):
        on = np.flatnonzero(counts >= level)
        for left, right in itertools.pairwise(on):
            if 1 < right - left <= gap:
                result[left:right] = np.maximum(result[left:right], level)
    return result
