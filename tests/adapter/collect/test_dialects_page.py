"""The example in docs/dialects.md does what the page says that it does."""

import re
from pathlib import Path

import pytest

from adapter.collect import Collector
from adapter.collect.dialect_table import HISTOGRAM_KEYS, TABLE_KEYS, TERM_KEYS
from adapter.collect.signals import RAW_SIGNALS
from adapter.config import DialectSettings, parse_settings
from tests.helpers.clocks import ManualClock
from tests.helpers.pages import PageServer, page

DOC = Path(__file__).resolve().parents[3] / "docs" / "dialects.md"
TEXT = DOC.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


async def test_the_example_reads_as_the_page_says() -> None:
    (settings_text,) = blocks("yaml")
    before, after = blocks("text")
    expected = {
        name: float(v) for name, v in re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", TEXT, re.MULTILINE)
    }
    assert len(expected) >= 10
    clock = ManualClock()
    async with PageServer({"/metrics": page(before)}) as server:
        settings = parse_settings(settings_text.replace("http://127.0.0.1:8000", server.url))
        collector = Collector(settings, clock)
        await collector.start()
        await collector.collect()
        clock.advance(10.0)
        server.answers["/metrics"] = page(after)
        snapshot = await collector.collect()
        await collector.stop()
    assert snapshot.faults == ()
    assert snapshot.dialect == ("inhouse",)
    found = {name: snapshot.replica[name][0] for name in expected}
    assert found == pytest.approx(expected)
    assert snapshot.variant["ttft_p90_s"].present[0]


def test_every_signal_is_described() -> None:
    assert [name for name in RAW_SIGNALS if f"`{name}`" not in TEXT] == []


@pytest.mark.parametrize("keys", [TERM_KEYS, HISTOGRAM_KEYS], ids=["terms", "histograms"])
def test_every_key_of_a_way_is_described(keys: str) -> None:
    assert [key for key in keys.split() if f"`{key}`" not in TEXT] == []


def test_every_key_that_users_have_is_described() -> None:
    assert set(DialectSettings.model_fields) <= set(TABLE_KEYS.split())
    assert [key for key in DialectSettings.model_fields if f"| `{key}` |" not in TEXT] == []
