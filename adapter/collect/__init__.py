"""Collect: engines, routers and gateways -> Snapshot."""

from .collector import Collector

__all__ = ["Collector"]
