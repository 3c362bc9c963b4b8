"""Replicas that are about to go are no supply, and are replaced before they do. Pure.

A replica on a cordoned node still serves and still counts for its scale target, but a drain or a
spot notice will take it: what has to be carried is carried by the others, and as many are asked
for on top as are about to go. Once they have gone, both counts are the same again.
"""

from dataclasses import replace

import numpy as np

from optimizer import IntArray, Plan, PlanRequest

from .records import Snapshot

__all__ = ["departing_replicas", "with_departing", "without_departing"]


def departing_replicas(snapshot: Snapshot) -> IntArray | None:
    """Return how many replicas of each variant are about to go; None: nobody's."""
    around = snapshot.circumstances
    if around is None or around.departing is None or not around.departing.any():
        return None
    return around.departing


def without_departing(request: PlanRequest, departing: IntArray) -> PlanRequest:
    """Return the request to decide on what stays, within bounds that hold them and the others."""
    variants = request.variants
    gone = np.minimum(departing, variants.current_replicas)
    most = np.maximum(variants.max_replicas - gone, 0)
    current = variants.current_replicas - gone
    return replace(
        request,
        variants=replace(
            variants,
            current_replicas=current,
            ready_replicas=np.minimum(np.maximum(variants.ready_replicas - gone, 0), current),
            max_replicas=most,
            min_replicas=np.minimum(variants.min_replicas, most),
        ),
    )


def with_departing(plan: Plan, request: PlanRequest, departing: IntArray) -> Plan:
    """Return the plan for what stays with those on top that are still there."""
    return replace(
        plan, desired=plan.desired + np.minimum(departing, request.variants.current_replicas)
    )
