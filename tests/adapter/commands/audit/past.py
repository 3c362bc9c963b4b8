"""The past that tests look back on, and the command line that asks about it."""

from pathlib import Path

from simulator.policies.hpa_signals import HpaSettings, hpa_on_engines
from simulator.scenario import Scenario, parse_scenario
from simulator.world import World

HERE = Path(__file__).parent
TAPE = HERE / "answers.json.gz"
HPA = HERE / "hpa.yaml"
SCRAPE_S = 15.0
START_UNIX_S = 1_767_571_200.0  # 2026-01-05T00:00:00Z
ARGUMENTS = (
    *("--last", "1h", "--until", "2026-01-05T01:00:00Z"),
    *("--accelerator", "A100", "--cost-per-hour", "1.6", "--cold-start", "60"),
    *("--ttft-ms", "1000", "--itl-ms", "60", "--seeds", "1", "--jobs", "1"),
)


def scenario() -> Scenario:
    path = HERE / "scenario.yaml"
    return parse_scenario(path.read_text(encoding="utf-8"), origin=path.name)


def own_hpa(world: World) -> object:
    """Return what `hpa.yaml` says, as the simulator's policy."""
    return hpa_on_engines(world, HpaSettings(kv_ratio=0.1, waiting=8.0))
