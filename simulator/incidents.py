"""What goes wrong in a world: lost nodes and spot pods, stock-outs, failing scrapes, updates."""

import math
from collections.abc import Callable
from typing import Protocol

from .cluster_spec import Event
from .deployments import Deployments

__all__ = ["Incidents"]


class Later(Protocol):
    """Has something happen at a moment."""

    def __call__(self, at_s: float, happen: Callable[[], None], /) -> None:
        """Call `happen` when it is `at_s`."""
        ...


class Incidents:
    """A scenario's events, and the share of scrapes that fail."""

    def __init__(self, deployments: Deployments, later: Later) -> None:
        self._deployments, self._later = deployments, later
        self.scrape_loss_ratio = self._always_lost_ratio = 0.0

    def lose_scrapes(self, share: float) -> None:
        """Let this share of the scrapes fail from now on, whatever else happens."""
        self.scrape_loss_ratio = self._always_lost_ratio = share

    def happen(self, event: Event) -> None:
        """Let an event happen now."""
        match event.kind:
            case "node-loss":
                self._lose_nodes(event)
            case "stock-out":
                self._sell_out(event)
            case "spot-loss":
                self._lose_spot(event)
            case "scrape-failure":
                self.scrape_loss_ratio = max(event.share, self._always_lost_ratio)
                self._later(event.until_s, self._read_well)
            case "rolling-update":
                self._deployments.update(self._deployments.row(event.variant))

    def _sell_out(self, event: Event) -> None:
        nodes, kind = self._deployments.nodes, event.accelerator
        nodes.sell_out(kind, sold_out=True)
        self._later(event.until_s, lambda: nodes.sell_out(kind, sold_out=False))

    def _read_well(self) -> None:
        self.scrape_loss_ratio = self._always_lost_ratio

    def _lose_nodes(self, event: Event) -> None:
        own = self._deployments
        lost = own.nodes.lose(event.accelerator, event.nodes)
        for pod in [p for p in own.pods if p.node in lost]:
            own.stop(pod)
        self._later(event.until_s, lambda: own.nodes.bring_back(lost))
        for row in range(len(own.variants)):
            own.reconcile(row)

    def _lose_spot(self, event: Event) -> None:
        own = self._deployments
        row = own.row(event.variant)
        ready = own.ready_pods(row)
        for pod in ready[: math.ceil(event.share * len(ready))]:
            own.release(pod, event.notice_s)
        own.reconcile(row)
