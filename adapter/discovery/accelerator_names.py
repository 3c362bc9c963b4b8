"""Which accelerator a variant runs on, by the name that the settings give it. Pure."""

from collections.abc import Mapping

from ..accelerators import common_name
from ..config import Settings
from .workloads import Workload

__all__ = ["UNKNOWN", "accelerator_of"]

# A type of its own: no cost moves across it.
UNKNOWN = "unknown"


def accelerator_of(
    annotated: str,
    workload: Workload | None,
    node: str,
    kinds: Mapping[str, str],
    settings: Settings,
) -> str:
    """Return a variant's accelerator.

    In this order: what its declaration says, its pod template's node selector or affinity,
    the node that one of its pods is on, the only type that there is.

    Parameters
    ----------
    node : str
        Where one of its pods runs, "" if that isn't known.
    kinds : mapping of str to str
        Accelerators by node.
    """
    told = annotated or (workload.accelerator if workload is not None else "")
    told = told or kinds.get(node, "")
    if not told and len(set(kinds.values())) == 1:
        told = next(iter(kinds.values()))
    if not told:
        return UNKNOWN
    spellings = {name.lower(): name for name in settings.accelerators}
    return spellings.get(told.lower()) or spellings.get(common_name(told).lower()) or told
