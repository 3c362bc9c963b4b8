"""The whole examination: evidence in, findings out."""

from .evidence import Evidence
from .findings import Finding
from .hpa import check_hpas
from .installation import check_installation
from .scaled_object import check_scaled_objects
from .variants import check_variants

__all__ = ["examine"]


def examine(seen: Evidence) -> list[Finding]:
    """Return the findings on an installation and its variants, in the order of a repair."""
    return [
        *check_installation(seen),
        *check_hpas(seen),
        *check_scaled_objects(seen),
        *check_variants(seen),
    ]
