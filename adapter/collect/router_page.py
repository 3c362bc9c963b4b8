"""What one router's page says of each model: offered, turned away, waiting. Pure.

Four ways, the first that a page allows, for the whole page: arrivals as they are counted; what
left the queue, per model or per pool, plus its growth; what was handed on and refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .binding import SeriesIndex
from .exposition import Exposition
from .router_table import MODEL_LABELS, ModelNames, RouterTable

__all__ = ["ELAPSED", "FLOWS", "OFFERED", "QUEUE_CHANGE", "TURNED_AWAY", "RouterBinding"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]

# Flows over the window, per model.
OFFERED, TURNED_AWAY, QUEUE_CHANGE, ELAPSED = range(4)
FLOWS = 4


@dataclass(frozen=True, slots=True, eq=False)
class RouterBinding:
    """Where a router page's series go: `series` add to `flow` of `model`."""

    series: IntArray
    model: IntArray
    flow: IntArray
    queue_series: IntArray
    queue_model: IntArray
    known: BoolArray  # per model: its arrivals are counted here
    queued: BoolArray  # per model: its queue is known, be it empty
    balanced: bool  # growth of the queue is part of what is offered

    def flows(self, increments: FloatArray) -> FloatArray:
        """Return what increments of series add, shape (models, FLOWS)."""
        gained = np.zeros((len(self.known), FLOWS))
        np.add.at(gained, (self.model, self.flow), increments[self.series])
        return gained

    def queue(self, values: FloatArray) -> FloatArray:
        """Return the requests that wait, shape (models,)."""
        waiting = np.nan_to_num(values[self.queue_series], posinf=0.0, neginf=0.0)
        length = np.zeros(len(self.known))
        np.add.at(length, self.queue_model, np.maximum(waiting, 0.0))
        return length


def bind_router(
    page: Exposition,
    table: RouterTable,
    names: ModelNames,
    *,
    namespace: str,
    pool_model: dict[str, int],
) -> RouterBinding:
    """Return where the series of a page go.

    `pool_model` remembers which pool serves which model: the queue's series tell, as long as
    something waits. A name that is nobody's, a LoRA adapter's above all, is of its pool's
    model, if the pool serves just one.
    """
    index, series = SeriesIndex(page.series), page.series
    owner = [names.row({n: one.label(n) for n in MODEL_LABELS}, namespace) for one in series]
    queue = table.first("queue_requests", index)
    for i in queue:
        model, pool = owner[i], series[i].label("inference_pool")
        if model is not None and pool:
            pool_model[pool] = model
    totals = table.first("finished_by_pool", index)
    owner = _with_pools(owner, [one.label("inference_pool") for one in series], pool_model)
    finished = table.first("finished", index)
    held = bool(queue or finished or totals)
    balanced = True
    if arrivals := table.first("arrivals", index):
        offered, away, balanced = arrivals, table.first("turned_away", index), False
    elif finished:
        offered, away = finished, table.first("turned_away", index)
    elif any(owner[i] is not None for i in totals):
        offered, away = totals, table.first("turned_away_by_pool", index)
    else:
        away = table.first("refused", index)
        offered, balanced = [*table.first("dispatched", index), *away], held
    flows = [(i, OFFERED) for i in offered] + [(i, TURNED_AWAY) for i in away]
    rows = [(i, m, flow) for i, flow in flows if (m := owner[i]) is not None]
    waiting = [(i, m) for i in queue if (m := owner[i]) is not None]
    known, queued = np.zeros((2, len(names.models)), dtype=np.bool_)
    known[[model for _, model, flow in rows if flow == OFFERED]] = True
    queued[[model for _, model in waiting]] = True
    return RouterBinding(
        series=_ints([i for i, _, _ in rows]),
        model=_ints([model for _, model, _ in rows]),
        flow=_ints([flow for _, _, flow in rows]),
        queue_series=_ints([i for i, _ in waiting]),
        queue_model=_ints([model for _, model in waiting]),
        known=known,
        queued=queued | (known & held),
        balanced=balanced,
    )


def _with_pools(
    owner: Sequence[int | None], pool: Sequence[str], pool_model: Mapping[str, int]
) -> list[int | None]:
    """Return whose each series is: by its own names, else by its pool's one model."""
    served: dict[str, set[int]] = {}
    for mine, name in zip(owner, pool, strict=True):
        if mine is not None:
            served.setdefault(name, set()).add(mine)
    several = {name for name, models in served.items() if len(models) > 1}
    return [
        mine if mine is not None or name in several else pool_model.get(name)
        for mine, name in zip(owner, pool, strict=True)
    ]


def _ints(places: Sequence[int]) -> IntArray:
    return np.array(places, dtype=np.intp)
