"""The demo's world can be mastered: replicas rise and fall, targets hold outside the burst."""

import math

import numpy as np
import pytest

from optimizer.errors import InvalidInputError
from simulator.demo_scenario import build_cluster, demo
from simulator.hpa import HpaState, decide

# What one replica carries within the targets, found by simulation.
CAPACITY_RPS = {"llama-8b-h100": 14.0, "llama-8b-l40s": 2.6, "qwen-14b-h100": 7.0}
TICK_S = 2.0


def cheapest_llama_mix(demand_rps):
    mixes = []
    for h100 in range(1, 9):
        l40s = max(1, math.ceil((demand_rps - 14.0 * h100) / 2.6))
        if l40s <= 8:
            mixes.append((4.1 * h100 + 1.2 * l40s, h100, l40s))
    return min(mixes)[1:]


def sizes(scenario, cluster, history, now_s):
    """Size on the highest rate of the last ticks, seen late, and on what queues."""
    wanted = {}
    for model in scenario.models:
        queued = sum(r.engine.waiting for r in cluster.replicas if r.variant.model == model.name)
        rates = history.setdefault(model.name, [])
        rates.append(model.workload.profile.rate_rps(now_s - 3.0))
        demand_rps = 1.1 * (max(rates[-4:]) + queued / 10.0)
        if model.name.startswith("llama"):
            mix = cheapest_llama_mix(demand_rps)
            wanted["llama-8b-h100"], wanted["llama-8b-l40s"] = mix
        else:
            wanted["qwen-14b-h100"] = math.ceil(demand_rps / CAPACITY_RPS["qwen-14b-h100"])
    return wanted


def run(duration_s, seed):
    """Play the scenario with a simple policy behind the stand-in for the HPA."""
    scenario = demo(duration_s)
    cluster = build_cluster(scenario, random=np.random.default_rng(seed), start_s=0.0)
    states = {each.variant.name: HpaState() for each in scenario.variants}
    history, totals, costs = {}, [], []
    for step in range(1, round(duration_s / TICK_S) + 1):
        now_s = step * TICK_S
        cluster.advance(now_s)
        wanted = sizes(scenario, cluster, history, now_s)
        for each in scenario.variants:
            name = each.variant.name
            decision = decide(
                states[name],
                each.hpa,
                replicas=cluster.count(name),
                metric=float(wanted[name]),
                now_s=now_s,
            )
            states[name] = decision.state
            cluster.set_replicas(name, decision.replicas)
        counts = {name: cluster.count(name) for name in states}
        totals.append(sum(counts.values()))
        costs.append(scenario.cost_per_hour(counts))
    return scenario, cluster, totals, costs


@pytest.mark.parametrize(("duration_s", "seed"), [(60.0, 1), (60.0, 2), (300.0, 1)])
def test_replicas_rise_and_fall_and_no_window_outside_the_burst_misses(duration_s, seed):
    scenario, cluster, totals, costs = run(duration_s, seed)
    assert totals[0] == totals[-1] == 3
    assert 9 <= max(totals) <= 14
    assert costs[-1] == pytest.approx(4.1 + 1.2 + 4.1)
    judged = 0
    for model in scenario.models:
        for window in cluster.attainment.windows(model.name):
            if window.complete and not scenario.excused(window.start_s, width_s=10.0, tick_s=5.0):
                judged += 1
                assert window.met_ratio >= 0.95, window
    assert judged >= (4 if duration_s == 60.0 else 30)


def test_the_same_seed_gives_the_same_run():
    first, again, other = run(60.0, 5), run(60.0, 5), run(60.0, 6)
    assert first[1].attainment.windows("qwen2.5-14b") == again[1].attainment.windows("qwen2.5-14b")
    assert first[2] == again[2]
    assert first[1].attainment.windows("qwen2.5-14b") != other[1].attainment.windows("qwen2.5-14b")


@pytest.mark.parametrize(
    ("start_s", "excused"), [(100.0, False), (115.0, True), (180.0, True), (190.0, False)]
)
def test_the_burst_and_its_answer_are_excused(start_s, excused):
    scenario = demo(300.0)  # burst from 120 to 180
    assert scenario.excused(start_s, width_s=10.0, tick_s=5.0) is excused


@pytest.mark.parametrize("duration_s", [59.0, math.inf, math.nan])
def test_too_short_or_endless(duration_s):
    with pytest.raises(InvalidInputError, match="at least 60"):
        demo(duration_s)


def test_a_long_run_keeps_its_shape():
    short, long = demo(60.0), demo(3600.0)
    for a, b in zip(short.models, long.models, strict=True):
        assert a.workload.profile.rates_rps[0] == b.workload.profile.rates_rps[0]
        assert max(a.workload.profile.rates_rps) == max(b.workload.profile.rates_rps)
        assert b.workload.profile.times_s[-1] == pytest.approx(0.76 * 3600.0)
