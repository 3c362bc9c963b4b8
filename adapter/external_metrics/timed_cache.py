"""Answers of somebody else, remembered for a while and asked for once at a time.

Bounded, least recently used out first. Failures aren't remembered: whoever asks next
asks again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from ..clock import Clock

__all__ = ["TimedCache"]

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


class TimedCache(Generic[Key, Answer]):
    """Remembers `load(key)` for `ttl_s`; callers who ask meanwhile share one call."""

    def __init__(
        self,
        load: Callable[[Key], Awaitable[Answer]],
        *,
        clock: Clock,
        ttl_s: float,
        max_entries: int,
    ) -> None:
        self._load = load
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._answers: OrderedDict[Key, tuple[float, Answer]] = OrderedDict()
        self._loading: dict[Key, asyncio.Task[Answer]] = {}

    async def get(self, key: Key) -> Answer:
        """Return the answer for `key`; raises whatever `load` raises."""
        kept = self._answers.get(key)
        if kept is not None and self._clock.monotonic_s() < kept[0]:
            self._answers.move_to_end(key)
            return kept[1]
        task = self._loading.get(key)
        if task is None:
            task = asyncio.ensure_future(self._fetch(key))
            self._loading[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        # One caller that gives up must not take the answer from the others.
        return await asyncio.shield(task)

    async def _fetch(self, key: Key) -> Answer:
        answer = await self._load(key)
        self._answers[key] = (self._clock.monotonic_s() + self._ttl_s, answer)
        self._answers.move_to_end(key)
        if len(self._answers) > self._max_entries:
            self._answers.popitem(last=False)
        return answer

    def _done(self, key: Key, task: asyncio.Task[Answer]) -> None:
        del self._loading[key]
        if not task.cancelled():
            task.exception()  # seen, even if every caller has left
