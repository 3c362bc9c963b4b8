"""Routers that can be simulated, and the law of each by the name that the adapter's settings have.

Apart from what runs: what a law is called changes no run.
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["ROUTERS"]

# In turn or at random, each replica gets as many; by load or by memory, who has least.
ROUTERS: Mapping[str, str] = MappingProxyType(
    {
        "round_robin": "equal_per_replica",
        "equal_per_replica": "equal_per_replica",
        "least_loaded": "least_loaded",
        "weighted": "weighted",
        "kv_aware": "least_loaded",
    }
)
