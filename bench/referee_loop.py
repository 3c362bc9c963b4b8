"""The public ramp in closed loop with the independent simulator: it serves, our policies scale it.

    python -m bench.referee --install     # once
    python -m bench.referee_loop

The engines, the router (round robin) and the start-up are ai-dynamo's (see `referee`), with the same
timing law and the same requests; every policy reads those engines and is obeyed by them, WVA with its
own decision code through the same HPA (see `referee_world`). Beside each figure is that of our own
simulator. A minute or two per policy.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from adapter.commands.replay_settings import replay_settings
from adapter.commands.replay_wva import wva_policy
from simulator.closed_loop import DRAIN_STEP_S, PolicyFactory, play
from simulator.policies.table import baseline
from simulator.scenario import Scenario, load_scenario
from simulator.summary import summarize
from simulator.world import World

from .proof_code import OURS, run_sha256
from .referee import FOLDER
from .referee_world import RefereeWorld

__all__ = ["POLICIES", "RESULTS", "Closed", "closed_loop", "code_sha256"]

SCENARIO = "public-ramp"
# Those that read nothing but engines: others need latencies of requests that haven't ended.
POLICIES = ("wva", "hpa-kv", "hpa-queue", "wva-v2", "static")
SEED = 1
RESULTS = Path(__file__).with_name("proof_results") / "referee-loop.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """What one policy came to in one of the simulators."""

    attainment: float
    replicas_mean: float
    ttft_p95_s: float
    itl_p95_s: float
    actions: float


def main() -> None:
    """Play each policy in both, print, and keep for docs/proof.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", default=SCENARIO, help="one variant, no events")
    parser.add_argument("--policy", action="append", choices=POLICIES, help="may be repeated")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    if not (FOLDER / "bin" / "python").exists():
        sys.exit(f"no {FOLDER}: run `python -m bench.referee --install` first")
    scenario = load_scenario(options.scenario)
    kept: dict[str, Any] = {}
    for name in options.policy or POLICIES:
        code = code_sha256(name)
        there = closed_loop(scenario, name, seed=options.seed)
        here = _here(scenario, name, seed=options.seed)
        print(f"{name:10} there {_told(there)}\n{'':10} here  {_told(here)}", flush=True)
        kept[name] = {
            "there": asdict(there),
            "here": asdict(here),
            "code_sha256": code,
        }
        if options.scenario == SCENARIO:
            _keep(kept)


def _told(closed: Closed) -> str:
    return (
        f"{closed.attainment:6.1%} at {closed.replicas_mean:.2f} replicas, TTFT p95 "
        f"{closed.ttft_p95_s:7.2f} s, ITL p95 {1e3 * closed.itl_p95_s:5.1f} ms, "
        f"{closed.actions:.0f} actions"
    )


def _keep(kept: dict[str, Any]) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**before, **kept}, indent=1) + "\n", encoding="utf-8")


def code_sha256(policy: str) -> str:
    """Return the hash of what a policy's figures depend on."""
    made = baseline(policy) if policy != "wva" else None
    roots = OURS if made is None else (getattr(made, "func", made).__module__,)
    return run_sha256(SCENARIO, (*roots, "bench.referee_world"))


def closed_loop(scenario: Scenario, policy: str, *, seed: int) -> Closed:
    """Return what a policy comes to where the referee serves; judged from the lead-in's end on."""
    lead_s, played = scenario.lead_in_s, scenario.led_in()
    with RefereeWorld(played, seed=seed) as world:
        policy_there = _factory(scenario, policy)(cast("World", world))
        before_s = 0.0
        while world.now_s < played.duration_s:
            upto_s = lead_s if world.now_s < lead_s else played.duration_s
            world.advance(min(policy_there.next_s, upto_s))
            if world.now_s == lead_s:
                before_s = world.wanted_s
            if policy_there.next_s <= world.now_s < played.duration_s:
                policy_there.act(cast("World", world))
        used_s = world.wanted_s - before_s
        arrived_s = world.requests.arrival_s
        drained_s = played.duration_s + scenario.drain_s
        while len(world.ended) < len(arrived_s) and world.now_s < drained_s:
            world.advance(world.now_s + DRAIN_STEP_S)
        return _judged(scenario, world, used_s)


def _judged(scenario: Scenario, world: RefereeWorld, used_s: float) -> Closed:
    (model,), lead_s = scenario.models, scenario.lead_in_s
    judged = [each for each in world.ended if each.arrival_s >= lead_s]
    ttft_s = np.array([each.first_token_s - each.arrival_s for each in judged])
    itl_s = np.array(
        [(each.finish_s - each.first_token_s) / max(each.output_tokens - 1, 1) for each in judged]
    )
    asked = int((world.requests.arrival_s >= lead_s).sum())
    good = int(((ttft_s <= model.ttft_s) & (itl_s <= model.itl_s)).sum())
    return Closed(
        attainment=good / asked,  # who hasn't ended has missed
        replicas_mean=used_s / scenario.duration_s,
        ttft_p95_s=float(np.percentile(ttft_s, 95)),
        itl_p95_s=float(np.percentile(itl_s, 95)),
        actions=float(sum(each.at_s >= lead_s for each in world.actions)),
    )


def _here(scenario: Scenario, policy: str, *, seed: int) -> Closed:
    figures = summarize(play(scenario, policy, _factory(scenario, policy), seed=seed)).figures
    return Closed(**{name: figures[name] for name in Closed.__dataclass_fields__})


def _factory(scenario: Scenario, name: str) -> PolicyFactory:
    if name == "wva":
        return lambda world: wva_policy(world, replay_settings(scenario))
    return baseline(name)


if __name__ == "__main__":
    main()
