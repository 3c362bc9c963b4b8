"""The alerts fire when they should, on metrics that exist, and lead to a section that helps."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from adapter.clock import SystemClock
from adapter.explain import BINDING_MEANINGS
from adapter.metric_families import FAMILIES
from adapter.publish import SERVED_METRICS
from adapter.store import Store
from adapter.telemetry import Telemetry
from tests.helpers.manifests import ROOT, the

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool isn't here to check the rules with (Debian and Ubuntu: prometheus)",
)


def rules() -> list[Any]:
    return [rule for group in the("PrometheusRule")["spec"]["groups"] for rule in group["rules"]]


ALERTS = [pytest.param(rule, id=rule["alert"]) for rule in rules()]


def promtool(*arguments: str, folder: Path) -> str:
    (folder / "rules.yaml").write_text(
        yaml.safe_dump({"groups": the("PrometheusRule")["spec"]["groups"]}), encoding="utf-8"
    )
    shutil.copy(Path(__file__).with_name("alerts.yaml"), folder)
    result = subprocess.run(
        ["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@needs_promtool
def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    assert f"{len(rules())} rules found" in promtool(
        "check", "rules", "rules.yaml", folder=tmp_path
    )


@needs_promtool
def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    promtool("test", "rules", "alerts.yaml", folder=tmp_path)


def test_every_alert_has_a_test_of_when_it_fires() -> None:
    text = Path(__file__).with_name("alerts.yaml").read_text(encoding="utf-8")
    assert [rule["alert"] for rule in rules() if rule["alert"] not in text] == []


@pytest.mark.parametrize("rule", ALERTS)
def test_alert_is_on_metrics_that_exist(rule: Any) -> None:
    registry, clock = CollectorRegistry(), SystemClock()
    Telemetry(registry, store=Store(clock, metrics=SERVED_METRICS), clock=clock, version="0")
    exported = {family.name for family in registry.collect()} | {f.name for f in FAMILIES}
    exported |= {f"{name}_total" for name in exported}
    assert set(re.findall(r"\bwva_[a-z_]+", rule["expr"])) <= exported
    constraints = re.findall(r'constraint=~?"([\w|]+)"', rule["expr"])
    assert {name for each in constraints for name in each.split("|")} <= BINDING_MEANINGS.keys()


@pytest.mark.parametrize("rule", ALERTS)
def test_alert_says_what_it_means_and_leads_to_a_remedy(rule: Any) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
    assert anchor in anchors
    assert rule["annotations"]["summary"].endswith(".")


def test_operations_lists_every_alert() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [rule["alert"] for rule in rules() if f"`{rule['alert']}`" not in text] == []
