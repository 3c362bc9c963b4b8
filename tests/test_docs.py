"""The documentation agrees with the code and with itself; `make docs` builds it."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client import CollectorRegistry

from adapter.clock import SystemClock
from adapter.config import Settings, parse_settings
from adapter.explain import BINDING_MEANINGS, BRAKE_MEANINGS
from adapter.metric_families import FAMILIES
from adapter.publish import SERVED_METRICS
from adapter.store import Store
from adapter.telemetry import Telemetry

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("build")


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("settings_table")


def test_settings_page_is_what_the_code_accepts(table: ModuleType) -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    updated, faults = table.updated(text, Settings)
    assert faults == []
    assert updated == text, "run `make docs`"


def test_every_key_of_the_settings_is_listed(table: ModuleType) -> None:
    listed = {(place, row.key) for place, rows in table.sections(Settings) for row in rows}
    assert ("sources.scrape", "`timeout_s`") in listed
    assert ("models.NAME.profiles.NAME", "`alpha_ms`") in listed
    assert ("variants[]", "`name`") in listed
    assert ("keda.tls", "`cert_file`") in listed


def test_a_changed_default_is_noticed(table: ModuleType) -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    changed = text.replace("| `interval_s` | number > 0 | `5` |", "| `interval_s` | x | `6` |", 1)
    assert changed != text
    assert table.updated(changed, Settings)[0] == text


def test_a_key_without_a_meaning_is_a_fault(table: ModuleType) -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    without = "\n".join(line for line in text.splitlines() if "`hold_s`" not in line)
    _, faults = table.updated(without, Settings)
    assert faults == ["settings.md: : `hold_s` has no meaning"]


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        pytest.param("## `sources.smoke`\n", "is no part of the settings", id="invented"),
        pytest.param("", "no section for 'health'", id="forgotten"),
    ],
)
def test_sections_follow_the_code(table: ModuleType, section: str, fault: str) -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    _, faults = table.updated(text.replace("## `health`\n", section), Settings)
    assert any(fault in line for line in faults)


def test_no_link_is_dead(build: ModuleType) -> None:
    assert [fault for page in build.pages() for fault in build.dead_links(page)] == []


def test_dead_links_are_found(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](gone.md) [b](#one) [c](#two) [d](https://example.org/x)\n")
    assert build.dead_links(page) == [
        "page.md: gone.md is not a file",
        "page.md:  has no heading #two",
    ]


def test_site_has_every_page_and_what_it_links_to(build: ModuleType, tmp_path: Path) -> None:
    build.write_site(tmp_path)
    for page in build.pages():
        html = (tmp_path / page.relative_to(ROOT)).with_suffix(".html").read_text(encoding="utf-8")
        assert 'href="http' not in html or "<a href" in html
        assert ".md" not in "".join(part.split('"')[0] for part in html.split('href="')[1:])
    assert (tmp_path / "manifests" / "examples" / "hpa.yaml").is_file()
    assert 'id="units"' in (tmp_path / "docs" / "nomenclature.html").read_text(encoding="utf-8")


def test_decision_numbers_are_in_order() -> None:
    lines = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8").splitlines()
    numbers = [int(line.split()[1].rstrip(".")) for line in lines if line.startswith("## ")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_settings_without_anything_are_good() -> None:
    """What the settings page promises: every key has a default."""
    assert parse_settings("") == Settings()


def test_every_metric_that_a_page_names_exists(build: ModuleType) -> None:
    registry = CollectorRegistry()
    clock = SystemClock()
    Telemetry(registry, store=Store(clock, metrics=SERVED_METRICS), clock=clock, version="0")
    exported = {family.name for family in registry.collect()} | {f.name for f in FAMILIES}
    exported |= {f"{name}_total" for name in exported}
    named = {
        (page.name, name)
        for page in build.pages()
        for name in re.findall(r"\bwva_[a-z_]+", page.read_text(encoding="utf-8"))
    }
    assert {name for _, name in named} >= set(SERVED_METRICS)
    assert {entry for entry in named if entry[1] not in exported} == set()


def test_operations_explains_every_constraint_and_brake() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [name for name in BINDING_MEANINGS if f"`{name}`" not in text] == []
    assert [name for name in BRAKE_MEANINGS if f"`{name}`" not in text] == []


def test_model_page_names_modules_that_exist() -> None:
    text = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    named = re.findall(r"[\w/]+\.py", text)
    homes = (ROOT, ROOT / "optimizer")
    assert len(named) > 10
    assert [name for name in named if not any((home / name).is_file() for home in homes)] == []


def test_every_claim_beside_the_peers_names_a_test_that_exists() -> None:
    rows = re.findall(
        r"^\| (.*) \|$", (ROOT / "docs" / "peers.md").read_text("utf-8"), re.MULTILINE
    )
    claims = [row.split(" | ") for row in rows if not row.startswith(("feature", "---"))]
    assert len(claims) > 20
    for claim in claims:
        (file, name), *more = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", claim[-1])
        assert more == [], claim[0]
        names = re.findall(r"def (test_\w+)", (ROOT / file).read_text(encoding="utf-8"))
        assert name in names, claim[0]


def test_every_scenario_and_case_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "`tests/" in line]
    assert len(rows) > 60
    for row in rows:
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row):
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), row
    cases = {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert cases == {*range(1, 20), *range(45, 62), 74, 75}


def test_architecture_page_names_packages_and_modules_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for package in ("optimizer", "adapter"):
        (layers,) = re.findall(rf"## Inside the {package}\n.*?```\n(.*?)```", text, re.DOTALL)
        names = " ".join(line[:30] for line in layers.splitlines()).split()
        home = ROOT / package
        missing = [n for n in names if not ((home / f"{n}.py").is_file() or (home / n).is_dir())]
        assert names
        assert missing == []


def test_every_message_of_the_runbook_is_said_by_the_code() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("### Messages\n")[2].partition("\n### ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "adapter").rglob("*.py"))
    # What an f-string puts in, and where a literal goes on in the next line, is nothing to compare.
    plain = re.sub(r'"\s+f?"', "", code)
    assert len(rows) > 20
    said = [words for row in rows for words in re.findall(r"`([^`]+)`", row)]
    assert [words for words in said if not _is_said(words, plain)] == []


def _is_said(words: str, code: str) -> bool:
    """Return whether the code has these words, some of which may be a name that it puts in."""
    pattern = r"(\{[^}]*\}|\S+)".join(map(re.escape, words.split("llm-d.ai/model-id")))
    return re.search(pattern, code) is not None
