"""How long requests are, and how much of them a cache has. Pure.

Lengths that nobody observed in the window are the last ones observed; before the first, an
assumption that is shown as such.
"""

import numpy as np

from optimizer import BoolArray, FloatArray, aligned, rows_of

from .analysis_memory import LENGTHS, Memory
from .catalog import Catalog
from .records import Snapshot
from .reporting import Reporting

__all__ = ["request_lengths"]

# A hit ratio that has risen is counted on after about this time.
HIT_RATIO_MEMORY_S = 1800.0
# Assumed until the first request has been seen: a middling chat turn with CV 1.
ASSUMED_LENGTHS = (512.0, 2.0 * 512.0**2, 256.0, 2.0 * 256.0**2)


def request_lengths(
    snapshot: Snapshot, replicas: Reporting, memory: Memory, catalog: Catalog
) -> tuple[FloatArray, BoolArray]:
    """Return length moments and hit ratio per model, and where they are assumed."""
    models = len(catalog.models)
    model = catalog.variant_model[replicas.variant]
    weight = np.nan_to_num(snapshot.replica["completion_rate_rps"].values)
    columns = []
    for name in (*LENGTHS, "prefix_hit_ratio"):
        readings = snapshot.replica[name]
        use = replicas.heard & readings.present & (weight > 0)
        mass = np.bincount(model[use], weights=weight[use], minlength=models)
        total = np.bincount(model[use], weights=(weight * readings.values)[use], minlength=models)
        columns.append(np.divide(total, mass, out=np.full(models, np.nan), where=mass > 0))
    observed = np.stack(columns, axis=1)
    remembered = aligned(memory.lengths, rows_of(catalog.model_names, memory.model_names))
    lengths = np.where(np.isnan(observed), remembered, observed)
    elapsed_s = snapshot.taken_s - memory.plan.planned_s
    lengths[:, -1] = _recent_low(lengths[:, -1], remembered[:, -1], elapsed_s)
    assumed = np.asarray(np.isnan(lengths[:, : len(LENGTHS)]).any(axis=1))
    lengths = np.where(assumed[:, None], np.array([*ASSUMED_LENGTHS, np.nan]), lengths)
    # An unknown hit ratio is none: capacity is never bought on a cache that nobody saw.
    lengths[:, -1] = np.clip(np.nan_to_num(lengths[:, -1]), 0.0, 0.99)
    lengths[:, :4] = np.maximum(lengths[:, :4], [0.0, 0.0, 1.0, 1.0])
    lengths[:, 1] = np.maximum(lengths[:, 1], lengths[:, 0] ** 2)
    lengths[:, 3] = np.maximum(lengths[:, 3], lengths[:, 2] ** 2)
    return lengths, assumed


def _recent_low(ratio: FloatArray, before: FloatArray, elapsed_s: float) -> FloatArray:
    """Return the hit ratio to size with: it falls at once, and rises over half an hour.

    A replica that goes takes its cache along, and one that comes has none: capacity that
    was counted on hits is missing just when counts change. Sized with what hits have been
    in bad times, a collapse after a removal isn't followed by another removal.
    """
    gain = -np.expm1(-elapsed_s / HIT_RATIO_MEMORY_S)
    risen = before + gain * (ratio - before)
    # 0: nothing was known of a cache yet.
    return np.where((before > 0.0) & (ratio > before), risen, ratio)
