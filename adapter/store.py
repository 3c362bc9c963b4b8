"""The one edition in force: swapped whole, read by every server, waited for by streams.

It must not compute a decision or wait for a source: reading never blocks, and what an
edition may still be obeyed for is the edition's affair (see edition.py). For one event
loop: nothing here is safe to call from another thread.
"""

import asyncio
from collections.abc import Sequence

from .clock import Clock
from .edition import MAX_VALUE, Edition, describe_variants, utc
from .errors import NoMatchError, StalePublicationError, UnknownMetricError
from .records import Publication

__all__ = ["MAX_VALUE", "Edition", "Store", "describe_variants"]


class Store:
    """Holds the edition in force, tells its waiters of the next, and answers reads.

    Parameters
    ----------
    clock : Clock
        Ages decisions.
    metrics : sequence of str
        Names of the metrics that are served, lower case, known before anything is published.
    """

    def __init__(self, clock: Clock, *, metrics: Sequence[str]) -> None:
        self._clock = clock
        self.metrics = tuple(metrics)
        self._known = frozenset(self.metrics)
        self._edition: Edition | None = None
        self._sequence = 0
        self._started_s = clock.monotonic_s()
        self._next = asyncio.Event()

    @property
    def edition(self) -> Edition | None:
        """Return the edition in force, None before the first publication."""
        return self._edition

    @property
    def sequence(self) -> int:
        """Return how many publications were put in; 0 before the first."""
        return self._sequence

    def swap(self, publication: Publication, *, received_s: float) -> None:
        """Put `publication`, received at `received_s` [monotonic s], in force; wake all waiters."""
        self._sequence += 1
        self._edition = Edition(publication, received_s=received_s, sequence=self._sequence)
        waiting, self._next = self._next, asyncio.Event()
        waiting.set()

    async def changed(self, after_sequence: int) -> int:
        """Wait until a publication later than `after_sequence` is in force.

        Pass what the last call returned (0 at first, which waits for the first
        publication only); publications that came meanwhile are seen at once, as one.
        An age that passes a limit is no change: look at the value now and then.

        Returns
        -------
        int
            `sequence` of the publication that is in force now.
        """
        while self._sequence <= after_sequence:
            await self._next.wait()
        return self._sequence

    def metric(self, name: str, *, namespace: str = "") -> str:
        """Return the served metric of that name, in any case of letters.

        `namespace` says where it was asked for, if it matters to the reader of the error.

        Raises
        ------
        UnknownMetricError
            If there is none; the message lists those that there are.
        """
        lower = name.lower()
        if lower not in self._known:
            known = ", ".join(self.metrics) or "none"
            where = f" in namespace {namespace!r}" if namespace else ""
            raise UnknownMetricError(f"no metric {name!r} is served{where}; known metrics: {known}")
        return lower

    def current(self) -> Edition:
        """Return the edition in force.

        Raises
        ------
        StalePublicationError
            Before the first publication.
        """
        if self._edition is None:
            waited_s = self._clock.monotonic_s() - self._started_s
            raise StalePublicationError(
                "no decision has been published yet: the decision loop has been starting for "
                f"{waited_s:.0f} s, since {utc(self._clock.unix_s() - waited_s)}; see the "
                "adapter's log if this lasts"
            )
        return self._edition

    def read(self, namespace: str, metric: str, variant: str) -> float:
        """Return the value of `metric` (any case) for one variant, as of now.

        While held, the desired count is max(last decision, current replicas).

        Raises
        ------
        UnknownMetricError
            If no such metric is served.
        StalePublicationError
            If there is no publication yet, its decision is too old, or it has no value.
        NoMatchError
            If the namespace has no such variant.
        """
        name = self.metric(metric, namespace=namespace)
        edition = self.current()
        row = edition.row(namespace, variant)
        if row is None:
            raise NoMatchError(
                f"no variant {variant!r} in namespace {namespace!r}, which has "
                f"{describe_variants(edition, namespace)}"
            )
        return edition.value(name, row, self._clock.monotonic_s())
