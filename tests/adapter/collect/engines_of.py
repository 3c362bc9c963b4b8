"""Pages in, readings out, without a network: for tests of what is made of a page."""

from collections.abc import Iterable

import numpy as np
import pytest

from adapter.collect.binding import Binding, Misfit, bind
from adapter.collect.dialects import load_dialects, wanted_names
from adapter.collect.engines import EngineTable
from adapter.collect.exposition import ExpositionReader
from adapter.collect.increments import CounterMemory
from adapter.collect.readings import replica_readings, variant_readings
from adapter.collect.targets import Targets
from adapter.config import DialectSettings
from adapter.records import Missing, Reason

INTERVAL_S = 10.0

Readings = dict[str, float | Missing]


def assert_same(found: Readings, expected: Readings) -> None:
    """Compare readings: numbers nearly, reasons exactly; only what is expected."""
    for name, value in expected.items():
        if isinstance(value, Missing):
            assert found[name] == value, name
        else:
            assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-7), name


class Engine:
    """One engine of one replica, read page by page."""

    def __init__(
        self,
        model: str = "llama-3.1-8b",
        *,
        window_s: float = 60.0,
        added: dict[str, DialectSettings] | None = None,
    ) -> None:
        self.dialects = load_dialects(added)
        names, facts = wanted_names(self.dialects)
        self.reader = ExpositionReader(names, facts=facts)
        self.names = frozenset({model.lower()})
        self.table = EngineTable(window_s)
        self.row = self.table.add()
        self.memory = CounterMemory()
        self.now_s = 1000.0
        self.binding: Binding | Misfit | None = None

    def read(
        self, text: str, *, after_s: float = INTERVAL_S, openmetrics: bool = False
    ) -> "Engine":
        self.now_s += after_s
        self.table.turn(self.now_s)
        layout = self.memory.layout
        page = self.reader.read(text.encode(), openmetrics=openmetrics, layout=layout)
        self.binding = bind(page, self.dialects, self.names)
        if isinstance(self.binding, Binding):
            self.table.observe(self.row, self.memory, self.binding, page, now_s=self.now_s)
        return self

    def read_all(self, pages: Iterable[str]) -> "Engine":
        for page in pages:
            self.read(page)
        return self

    @property
    def replica(self) -> Readings:
        return {name: r[0] for name, r in replica_readings(self.table, self._targets()).items()}

    @property
    def variant(self) -> Readings:
        return {name: r[0] for name, r in variant_readings(self.table, self._targets()).items()}

    def _targets(self) -> Targets:
        return Targets(
            row=np.array([self.row]),
            group=np.array([0]),
            groups=1,
            unread=np.array([Reason.PRESENT], dtype=np.uint8),
        )
