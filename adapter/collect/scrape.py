"""Read the engines' pages: every target once a tick, each for itself.

What one target does to us (hangs, lies, sends too much) is its fault alone: it is noted with its
reason, and the others are read as if nothing had been. Targets that failed the last time are
asked last, so that those that hang can't keep the tick's time from the others; of the rest, those
that have waited longest go first.
"""

import asyncio
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from urllib.parse import urlsplit

import numpy as np

from ..clock import Clock
from ..config import ScrapeSource, Settings
from ..errors import SourceMalformedError
from ..records import Reason, ReplicaState
from .binding import Binding, Misfit, bind
from .dialect_table import Dialect
from .dialects import wanted_names
from .engines import EngineTable
from .exposition import Exposition, ExpositionReader
from .faults import FaultBook
from .fetch import METRICS_ACCEPT, Failure, Fetcher
from .fleet import Fleet
from .increments import CounterMemory

__all__ = ["Scraper", "Target", "read_page"]

_HEADERS = {"Accept": METRICS_ACCEPT}
_SOURCE = "scrape"
_OPENMETRICS = "application/openmetrics-text"
# Answers after which another of the known paths may be the right one.
_WRONG_PATH = frozenset({Reason.HTTP_STATUS, Reason.MALFORMED, Reason.UNKNOWN})


class Target:
    """One address of one replica."""

    __slots__ = (
        "asked_s",
        "dialect",
        "endpoint",
        "failing",
        "memory",
        "names",
        "other_since_s",
        "paths",
        "row",
        "starting",
        "variant",
    )

    def __init__(
        self, endpoint: str, *, row: int, names: frozenset[str], paths: Sequence[str]
    ) -> None:
        self.endpoint = endpoint
        self.row = row
        self.variant = -1  # its row; changes with the settings
        self.names = names
        self.paths = tuple(paths)  # the first is asked
        self.memory = CounterMemory()
        self.asked_s = -math.inf
        self.failing = False
        self.starting = False
        self.dialect = ""  # what it has been read as, "" until then
        self.other_since_s = math.inf  # since when it answers as another engine

    @property
    def url(self) -> str:
        """Return what is asked next."""
        return (self.endpoint.rstrip("/") if self.paths[0] else self.endpoint) + self.paths[0]


def read_page(
    reader: ExpositionReader, body: bytes, content_type: str, memory: CounterMemory, source: str
) -> Exposition:
    """Return what a page says.

    Raises
    ------
    SourceMalformedError
        If the page is cut or beyond its limits.
    """
    openmetrics = content_type == _OPENMETRICS
    if not body.endswith(b"\n") or (openmetrics and not body.endswith(b"# EOF\n")):
        raise SourceMalformedError(source, "the body is empty, or cut within a line")
    return reader.read(body, openmetrics=openmetrics, layout=memory.layout, source=source)


def _broken_counter(binding: Binding, page: Exposition) -> str | None:
    """Return the name of a counter of requests that holds no number, None if all do."""
    whole = np.isfinite(page.values[binding.requests])
    if whole.all():
        return None
    name: str = page.series[binding.requests[~whole][0]].name
    return name


class Scraper:
    """The targets of the fleet and the table that their pages go into."""

    def __init__(
        self,
        settings: Settings,
        source: ScrapeSource,
        dialects: tuple[Dialect, ...],
        faults: FaultBook,
        clock: Clock,
    ) -> None:
        self._faults = faults
        self._clock = clock
        self._targets: dict[Hashable, Target] = {}
        self._learn_dialects(dialects)
        self._configure(settings, source)
        self.table = EngineTable(source.window_s)

    def reconfigure(
        self, settings: Settings, source: ScrapeSource, dialects: tuple[Dialect, ...]
    ) -> None:
        """Go on with other settings; what unchanged targets have said is kept."""
        if dialects != self._dialects or source.window_s != self._source.window_s:
            self._learn_dialects(dialects)
            self.table = EngineTable(source.window_s)
            self._targets.clear()
        self._configure(settings, source)

    def _learn_dialects(self, dialects: tuple[Dialect, ...]) -> None:
        names, facts = wanted_names(dialects)
        self._dialects = dialects
        self._reader = ExpositionReader(names, facts=facts)
        self._default_paths = tuple(dict.fromkeys(p for d in dialects for p in d.paths))

    def _configure(self, settings: Settings, source: ScrapeSource) -> None:
        self._settings, self._source = settings, source
        self._fleet: Fleet | None = None
        self._good_path: dict[int, str] = {}
        self.dialect: list[str] = [""] * len(settings.variants)
        self.by_replica: list[list[Target]] = []

    async def scrape(self, fetcher: Fetcher, fleet: Fleet, *, now_s: float) -> None:
        """Read every target of the fleet once."""
        if fleet is not self._fleet:
            self._follow(fleet)
        self.table.turn(now_s)
        order = sorted(self._targets.values(), key=lambda t: (t.failing, t.asked_s))
        waiting = iter(order)
        deadline_s = asyncio.get_running_loop().time() + self._settings.interval_s
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(self._source.max_concurrency, len(order))):
                tasks.create_task(self._work(fetcher, waiting, deadline_s))
        late = sum(1 for _ in waiting)
        if late:
            detail = f"{late} of {len(order)} engines had no turn within interval_s; raise it, or "
            detail += "sources.scrape.max_concurrency"
            self._faults.failed(_SOURCE, Reason.TIMEOUT, detail, now_s=now_s)
        else:
            self._faults.answered(_SOURCE)

    def sources(self) -> set[str]:
        """Return the names under which faults are noted."""
        return {_SOURCE, *(target.endpoint for target in self._targets.values())}

    async def _work(self, fetcher: Fetcher, waiting: Iterator[Target], deadline_s: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() <= deadline_s:
            target = next(waiting, None)
            if target is None:
                return
            target.asked_s = loop.time()
            await self._read(fetcher, target)

    async def _read(self, fetcher: Fetcher, target: Target) -> None:
        source = self._source
        answer = await fetcher.get(
            target.url,
            timeout_s=source.timeout_s,
            max_bytes=source.max_body_bytes,
            headers=_HEADERS,
        )
        if isinstance(answer, Failure):
            self._fail(target, answer.reason, answer.error.detail)
            return
        try:
            page = read_page(
                self._reader, answer.body, answer.content_type, target.memory, target.endpoint
            )
        except SourceMalformedError as exc:
            self._fail(target, Reason.MALFORMED, exc.detail)
            return
        binding = bind(page, self._dialects, target.names)
        if isinstance(binding, Misfit):
            if binding.reason is Reason.WRONG_MODEL:
                # Somebody else answers: what was heard before is not about who is there now.
                self.table.forget(target.row)
                target.memory = CounterMemory()
            self._fail(target, binding.reason, binding.message)
            return
        if (broken := _broken_counter(binding, page)) is not None:
            # Without its count a page is no reading: the next good one counts for both.
            self._fail(target, Reason.NOT_FINITE, f"{broken} is no number")
            return
        now_s = self._clock.monotonic_s()
        if self._is_another(target, binding.dialect, now_s):
            lasted = f"believed once that has lasted {self._settings.hold_s:g} s (hold_s)"
            detail = f"it answers as {binding.dialect} and was {target.dialect}; {lasted}"
            self._fail(target, Reason.UNKNOWN, detail)
            return
        self.table.observe(target.row, target.memory, binding, page, now_s=now_s)
        self.dialect[target.variant] = binding.dialect
        self._good_path[target.variant] = target.paths[0]
        target.failing = False
        self._faults.answered(target.endpoint)

    def _is_another(self, target: Target, dialect: str, now_s: float) -> bool:
        """Return whether a target says what its engine can't: that it is of another kind.

        Behind one address engines aren't exchanged from one scrape to the next; a page of
        another kind is more likely a mistake, and its zeros would take replicas away.
        """
        if target.dialect in {"", dialect}:
            target.dialect, target.other_since_s = dialect, math.inf
            return False
        target.other_since_s = min(target.other_since_s, now_s)
        if now_s - target.other_since_s < self._settings.hold_s:
            return True
        self.table.forget(target.row)
        target.dialect, target.other_since_s = dialect, math.inf
        target.memory = CounterMemory()
        return False

    def _fail(self, target: Target, reason: Reason, detail: str) -> None:
        never = math.isnan(self.table.read_s[target.row])
        if never and reason in _WRONG_PATH and len(target.paths) > 1:
            detail = f"{target.paths[0]}: {detail}"
            target.paths = (*target.paths[1:], target.paths[0])
        target.failing = True
        self.table.fault[target.row] = reason
        if not (target.starting and never):
            # Who is known to be starting owes no answer yet.
            self._faults.failed(target.endpoint, reason, detail, now_s=self._clock.monotonic_s())

    def _follow(self, fleet: Fleet) -> None:
        """Take up new targets and let go of those that are gone."""
        variants = self._settings.variants
        names = [self._names(row) for row in range(len(variants))]
        before, self._targets = self._targets, {}
        self.by_replica = []
        for replica in fleet.replicas:
            row, own = replica.variant, []
            variant = variants[row]
            for endpoint in replica.urls:
                key = (variant.key, endpoint, variant.metrics_path, names[row])
                target = self._targets.get(key) or before.pop(key, None)
                if target is None:
                    target = Target(
                        endpoint,
                        row=self.table.add(),
                        names=names[row],
                        paths=self._paths(row, endpoint),
                    )
                target.variant = row
                target.starting = replica.state is ReplicaState.STARTING
                self._targets[key] = target
                own.append(target)
            self.by_replica.append(own)
        for target in before.values():
            self.table.remove(target.row)
        self._fleet = fleet

    def _names(self, row: int) -> frozenset[str]:
        """Return what the engine may call the variant's model."""
        variant = self._settings.variants[row]
        model = self._settings.models.get(variant.model)
        served: Iterable[str] = model.served_names if model is not None else ()
        return frozenset(name.lower() for name in (variant.model, *served))

    def _paths(self, row: int, endpoint: str) -> tuple[str, ...]:
        """Return the paths to try after `endpoint`, the likeliest first; "" if it has one."""
        if urlsplit(endpoint).path.strip("/"):
            return ("",)
        declared = self._settings.variants[row].metrics_path
        if declared is not None:
            return (declared,)
        likeliest = self._good_path.get(row)
        paths = (likeliest, *self._default_paths) if likeliest is not None else self._default_paths
        return tuple(dict.fromkeys(path for path in paths if path))
