"""What HPA leaves alone: a count within its tolerance of what is there (design 4.2). Pure.

A scale-up that the SLO needs is raised to the smallest count that HPA acts on; whatever
else lies inside the tolerance stays where it is, and is told.
"""

import numpy as np

from optimizer import BoolArray, FloatArray, IntArray

from .records import Circumstances, Snapshot

__all__ = ["left_alone", "nudged", "tolerance_up_ratio"]

# HPA compares a quotient of floats.
_ROUNDING = 1e-9


def tolerance_up_ratio(snapshot: Snapshot, default: float) -> float | FloatArray:
    """Return each HPA's own tolerance, the settings' where it has none that is known."""
    if snapshot.circumstances is None:
        return default
    own = snapshot.circumstances.tolerance_ratio
    return np.where(np.isfinite(own), own, default)


def nudged(
    desired: IntArray,
    current: IntArray,
    *,
    most: IntArray,
    needed: BoolArray,
    tolerance_ratio: float | FloatArray,
    max_nudge: int,
) -> IntArray:
    """Return how many replicas to add so that HPA acts on a needed scale-up.

    HPA keeps `current` while desired/current <= 1 + tolerance. Past `most` is allowed
    only where the need is `most` itself: HPA clamps it there.
    """
    acts_on = np.floor(current * (1.0 + tolerance_ratio) + _ROUNDING).astype(np.int64) + 1
    inside = needed & (desired > current) & (desired < acts_on) & (current > 0)
    extra = np.where(inside, acts_on - desired, 0)
    fits = (desired + extra <= most) | (desired == most)
    return np.where(fits & (extra <= max_nudge), extra, 0)


def left_alone(
    published: IntArray, current: IntArray, circumstances: Circumstances, default: float
) -> tuple[str, ...]:
    """Return, per variant that an HPA follows, that its tolerance swallows the decision, or ""."""
    down, followed = circumstances.tolerance_down_ratio, circumstances.followed
    if down is None or followed is None:
        return ("",) * len(published)
    change = published / np.maximum(current, 1) - 1.0
    tolerance = np.where(change > 0, circumstances.tolerance_ratio, down)
    tolerance = np.where(np.isfinite(tolerance), tolerance, default)
    inside = np.abs(change) <= tolerance + _ROUNDING
    swallowed = followed & (current > 0) & (change != 0.0) & inside
    return tuple(
        _words("Up" if more > 0 else "Down", ratio) if lost else ""
        for lost, more, ratio in zip(swallowed, change, tolerance, strict=True)
    )


def _words(way: str, ratio: float) -> str:
    return (
        f"WithinTolerance: the HPA leaves a count alone that is within {ratio:.0%} of what is "
        f'there; behavior.scale{way}.tolerance: "0" (Kubernetes 1.33 and later) ends that'
    )
