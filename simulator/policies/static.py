"""As many replicas as there may be, all the time: what people do who trust no autoscaler."""

import math

from ..world import World

__all__ = ["StaticPeak"]


class StaticPeak:
    """Every variant at its maximum from the start, ready at once."""

    next_s = math.inf

    def __init__(self, world: World) -> None:
        world.provision([spec.max_replicas for spec in world.variants])

    def act(self, world: World) -> None:
        """Do nothing."""
