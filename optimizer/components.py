"""Which services have to be decided together: those that share something that may run out."""

from collections.abc import Iterator

import numpy as np

from .domain import BoolArray, IntArray
from .problem import SLACK, Problem

__all__ = ["components", "may_bind"]


def may_bind(problem: Problem) -> BoolArray:
    """Return which resources run out if every variant is at its upper bound, shape (R,)."""
    usable = np.where(problem.rate_rps > 0, problem.highest, problem.lowest)
    return np.asarray(problem.uses.used(usable) > problem.uses.capacity * (1.0 + SLACK))


def components(problem: Problem) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Yield (services, variants, resources) of each part that nothing scarce joins to others.

    Only resources that may bind join. Parts come in the order of their first service.
    """
    services, resources = len(problem.demand_rps), len(problem.uses.capacity)
    joins = may_bind(problem)
    entry = joins[problem.uses.resource]
    resource = problem.uses.resource[entry]
    service = problem.service[problem.uses.variant[entry]]
    label, before = np.arange(services), np.full(services, -1)
    of_resource = np.full(resources, services)
    while not np.array_equal(label, before):
        before = label.copy()
        np.minimum.at(of_resource, resource, label[service])
        np.minimum.at(label, service, of_resource[resource])
        label = label[label]
    of_variant = label[problem.service]
    for first in np.unique(label):
        yield (
            np.flatnonzero(label == first),
            np.flatnonzero(of_variant == first),
            np.flatnonzero(joins & (of_resource == first)),
        )
