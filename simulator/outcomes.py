"""What became of the requests of one model."""

from dataclasses import dataclass

import numpy as np

from optimizer import BoolArray, FloatArray, IntArray

from . import state

__all__ = ["LOST", "Outcomes"]

# A status beside the engine's own: the pod was taken from under it.
LOST = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """Columns over all requests that came, in order of arrival; NaN for what did not happen."""

    arrival_s: FloatArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    status: IntArray
    ttft_s: FloatArray
    itl_s: FloatArray
    finish_s: FloatArray

    @property
    def finished(self) -> BoolArray:
        """Who was served to the end."""
        return np.asarray(self.status == state.FINISHED)

    def since(self, start_s: float) -> "Outcomes":
        """Return those of requests that came from `start_s` on, on a clock that starts there."""
        rows = self.arrival_s >= start_s
        own = {name: getattr(self, name)[rows] for name in self.__slots__}
        moved = {name: own[name] - start_s for name in ("arrival_s", "finish_s")}
        return Outcomes(**{**own, **moved})
