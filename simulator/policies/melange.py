"""Static Mélange: the cheapest mix of GPU types for the peak rate, chosen once.

Source: Griggs et al., arXiv 2404.14527: an integer program over GPU types and request sizes.
Here one size bucket a model, the true peak rate, and capacities measured on the engine.
"""

import math

import numpy as np

from ..world import World
from .schedule import capacities_rps, cheapest_counts, fleets

__all__ = ["Melange"]

SLACK = 1.1


class Melange:
    """The cheapest counts that carry the peak of the rate and a tenth on top."""

    next_s = math.inf

    def __init__(self, world: World, slack: float = SLACK) -> None:
        counts = np.zeros(len(world.variants), dtype=np.int64)
        for fleet in fleets(world):
            rate = world.demand[fleet.model].rate_rps
            at_s = float(np.argmax(rate))
            carried = capacities_rps(world, fleet, at_s)
            counts[list(fleet.rows)] = cheapest_counts(
                fleet, carried.tolist(), slack * float(rate.max())
            )
        world.provision(counts.tolist())

    def act(self, world: World) -> None:
        """Do nothing."""
