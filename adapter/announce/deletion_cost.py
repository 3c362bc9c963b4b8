"""Pods that should go first are told to the controller that takes them.

A ReplicaSet that shrinks takes the pods of the lowest `controller.kubernetes.io/pod-deletion-cost`
first. It is set when a decision goes down and taken back when the pod isn't meant any more: never
on every tick, which the API server would feel. Only what was set here is taken back; a cost that
a person gave stays where the pod isn't named.
"""

from ..errors import KubeApiError
from ..kube.transport import MERGE, KubeTransport
from ..publish import LEAVING
from ..records import Freshness
from ..store import Edition

__all__ = ["DeletionCosts", "pods_leaving"]

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
COST = "-1000"  # pods without the annotation cost 0
_GONE = 404


def pods_leaving(edition: Edition, freshness: list[Freshness]) -> set[tuple[str, str]]:
    """Return (namespace, name) of the pods that a fresh decision would rather lose."""
    publication = edition.publication
    words = publication.texts.get(LEAVING, ())
    return {
        (key.namespace, name)
        for key, state, word in zip(publication.variants, freshness, words, strict=False)
        if state == Freshness.FRESH
        for name in word.split()
    }


class DeletionCosts:
    """The costs that this replica has set."""

    def __init__(self, transport: KubeTransport) -> None:
        self._transport = transport
        self._set: set[tuple[str, str]] = set()

    async def round(self, leaving: set[tuple[str, str]], budget: int) -> int:
        """Set and take back costs, at most `budget` of them; return how many were written.

        Raises
        ------
        KubeError
            If the API server doesn't do it; the next round tries again.
        """
        changes = [*sorted(leaving - self._set), *sorted(self._set - leaving)][: max(budget, 0)]
        for pod in changes:
            await self._write(pod, COST if pod in leaving else None)
            self._set ^= {pod}
        return len(changes)

    async def _write(self, pod: tuple[str, str], cost: str | None) -> None:
        namespace, name = pod
        try:
            await self._transport.call(
                "PATCH",
                f"/api/v1/namespaces/{namespace}/pods/{name}",
                body={"metadata": {"annotations": {ANNOTATION: cost}}},
                content_type=MERGE,
            )
        except KubeApiError as exc:
            if exc.status != _GONE:
                raise
