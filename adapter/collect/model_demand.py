"""Readings of models' demand: of whom nobody tells any, and of two who tell. Pure."""

import numpy as np

from ..config import Settings
from ..records import MODEL_SIGNALS, Readings, Reason
from .router_table import ModelNames

__all__ = ["combined_demand", "no_demand"]


def no_demand(settings: Settings) -> dict[str, Readings]:
    """Return the readings of whom nobody tells about demand."""
    models = len(ModelNames.of(settings).models)
    return {name: Readings.missing(models, Reason.NOT_EXPORTED) for name in MODEL_SIGNALS}


def combined_demand(first: dict[str, Readings], second: dict[str, Readings]) -> dict[str, Readings]:
    """Return the first readings, and the second where the first has none.

    Why a reading is missing is what the source says that exports it at all.
    """
    combined = {}
    for name, readings in first.items():
        other = second[name]
        silent = readings.reasons == Reason.NOT_EXPORTED
        use = ~readings.present & (other.present | silent)
        combined[name] = Readings(
            np.where(use, other.values, readings.values),
            np.where(use, other.reasons, readings.reasons),
        )
    return combined
