"""Who knows the true present: the cheapest mix for the rate of this moment, with our delays.

A second bound, for what nobody can foresee (a flash crowd, a lost node): it reads the true rate and
the true mean lengths with no noise and no lag, but it asks every HPA sync period and waits for the
same cold starts as everybody. Once no longer needed, replicas go at once. The headroom over the
rate is raised as the clairvoyant's is.
"""

from ..world import World
from .hpa_loop import SYNC_S
from .schedule import Fleet, capacities_rps, cheapest_counts, fleets

__all__ = ["Oracle"]


class Oracle:
    """Follows the true rate."""

    def __init__(self, world: World, *, headroom_ratio: float = 0.0) -> None:
        self._fleets = fleets(world)
        self._headroom_ratio = headroom_ratio
        self.next_s = 0.0

    def act(self, world: World) -> None:
        """Ask for what the present needs."""
        for fleet in self._fleets:
            self._follow(world, fleet)
        self.next_s += SYNC_S

    def _follow(self, world: World, fleet: Fleet) -> None:
        rates = world.demand[fleet.model].rate_rps
        rate = float(rates[min(int(world.now_s), len(rates) - 1)])
        carried = capacities_rps(world, fleet, world.now_s).tolist()
        counts = cheapest_counts(fleet, carried, rate * (1.0 + self._headroom_ratio))
        for row, count in zip(fleet.rows, counts.tolist(), strict=True):
            world.scale(row, int(count))
