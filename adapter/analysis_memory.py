"""What the analysis of one tick leaves for the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from optimizer import FloatArray, PlanState

from .moved_demand import Moved

__all__ = ["LENGTHS", "Memory"]

LENGTHS = (
    "prompt_tokens_mean",
    "prompt_tokens_second_moment",
    "output_tokens_mean",
    "output_tokens_second_moment",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Memory:
    """What the analysis remembers between ticks; rows are matched by name."""

    plan: PlanState
    replica_rate_rps: Mapping[str, float]
    model_names: tuple[str, ...]
    complete_rps: FloatArray  # (models,), the last total with every replica reporting
    lengths: FloatArray  # (models, 5): the four length moments and the hit ratio; NaN: none yet
    replica_model: Mapping[str, str] = field(default_factory=dict)  # of those with a rate
    read_s: float = -np.inf  # when the last snapshot was taken
    moved: Moved = field(default_factory=Moved.nothing)

    @classmethod
    def empty(cls) -> "Memory":
        """Return the memory of an adapter that has just started."""
        return cls(
            plan=PlanState.empty(),
            replica_rate_rps={},
            model_names=(),
            complete_rps=np.empty(0),
            lengths=np.empty((0, len(LENGTHS) + 1)),
        )
