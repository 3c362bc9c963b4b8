"""Assumed prices and power of accelerators whose settings don't say.

Rounded list prices per accelerator-hour (on demand, large clouds, 2026) and the vendors'
board power. They rank tiers when nothing better is known; whatever comes from here is
marked assumed wherever it is shown. An accelerator that isn't listed takes the dearest
assumption, so that ignorance never looks cheap.
"""

from typing import NamedTuple

__all__ = ["Assumed", "assume", "common_name"]


class Assumed(NamedTuple):
    """What is assumed of one accelerator."""

    cost_per_hour: float
    power_idle_w: float
    power_full_w: float


_ASSUMED = {
    "L4": Assumed(0.80, 15, 72),
    "T4": Assumed(0.55, 10, 70),
    "A10": Assumed(1.10, 25, 150),
    "L40S": Assumed(1.80, 60, 350),
    "A100": Assumed(3.20, 60, 400),
    "H100": Assumed(4.50, 100, 700),
    "H200": Assumed(5.50, 100, 700),
    "B200": Assumed(8.00, 140, 1000),
    "GB200": Assumed(9.00, 150, 1200),
    "MI210": Assumed(2.00, 45, 300),
    "MI250": Assumed(2.60, 90, 560),
    "MI300X": Assumed(4.20, 140, 750),
    "GAUDI2": Assumed(2.20, 100, 600),
    "GAUDI3": Assumed(3.50, 120, 900),
}
_DEAREST = max(_ASSUMED.values())


def assume(name: str) -> Assumed:
    """Return what is assumed of the accelerator called `name`, in any usual spelling.

    The longest listed name among the words of `name` decides: "NVIDIA-H100-80GB-HBM3"
    is an H100, "nvidia-l40s" an L40S.
    """
    return _ASSUMED.get(_listed(name), _DEAREST)


def common_name(name: str) -> str:
    """Return the usual name of an accelerator that a node's label spells out.

    >>> common_name("NVIDIA-H100-80GB-HBM3"), common_name("our-own-chip")
    ('H100', 'our-own-chip')
    """
    return _listed(name) or name


def _listed(name: str) -> str:
    words = name.upper().replace("_", "-").replace(" ", "-")
    joined = words.replace("-", "")
    parts = set(words.split("-"))
    matches = [known for known in _ASSUMED if known in parts or joined.startswith(known)]
    return max(matches, key=len, default="")
