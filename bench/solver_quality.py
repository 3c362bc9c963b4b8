"""How much our plans lose against HiGHS at its proven optimum, and against the bound.

200 random systems of 12 to 200 variants that share nine accelerator types, three classes,
with 0.9 to 1.3 times the accelerators that an even split would take. HiGHS chooses the counts
themselves until nothing better by more than 0.01 % is left, starting from our plan: however
long that takes, up to a number of nodes. Where ours puts a higher class first, which penalties
only approximate, it loses nothing. 1,000 and 4,000 variants are measured against the bound.
"""

import time

import numpy as np

from bench.random_systems import instance, loses_less, value
from bench.report import Row, run_bench
from optimizer.mip import exact
from optimizer.problem import Problem
from optimizer.scarcity import allocate, penalties

COMMAND = "python -m bench solver_quality"
# Systems of so many models, four variants each.
SYSTEMS = {3: 70, 6: 60, 12: 40, 25: 22, 50: 8}
TIGHTNESS = (0.9, 1.0, 1.1, 1.3)
PROOF_RATIO, NODES = 1e-4, 20_000
WITHIN_RATIO = 0.01
LARGE, LARGE_TIGHTNESS, LARGE_WITHIN_RATIO = (250, 1000), (0.7, 0.9, 1.1), 0.015


def measure() -> list[Row]:
    """Measure the loss at each size."""
    losses = {models: _losses(models, count) for models, count in SYSTEMS.items()}
    rows = [_against_highs(f"{4 * models} variants", each) for models, each in losses.items()]
    rows.append(_against_highs("all systems", [loss for each in losses.values() for loss in each]))
    return [*rows, *(_against_bound(models) for models in LARGE)]


def _losses(models: int, count: int) -> list[float]:
    """Return the loss of each system whose optimum was proven."""
    began, found = time.process_time(), []
    for seed in range(count):
        problem = instance(models, seed=seed, tightness=TIGHTNESS[seed % len(TIGHTNESS)])
        loss = _loss_ratio(problem)
        if loss is not None:
            found.append(loss)
    spent_s = time.process_time() - began
    print(f"  {4 * models} variants: {len(found)} of {count} proven, {spent_s:.0f} s", flush=True)
    return found


def _loss_ratio(problem: Problem) -> float | None:
    """Return by how much our plan's value exceeds the optimum's; None where none is proven."""
    ours = allocate(problem).counts
    best = exact(problem, penalties(problem), ours, nodes=NODES, gap_ratio=PROOF_RATIO)
    if best is None or not best.proven:
        return None
    if loses_less(problem, ours, best.counts):
        return 0.0
    return value(problem, ours) / value(problem, best.counts) - 1.0


def _against_highs(name: str, losses: list[float]) -> Row:
    worst, beyond = max(losses), sum(loss > WITHIN_RATIO for loss in losses)
    return Row(
        name=f"loss against HiGHS's proven optimum, {name}",
        value=100 * float(np.mean(losses)),
        unit="%",
        baseline=(
            f"worst {100 * worst:.2f} % of {len(losses)} systems, {beyond} beyond "
            f"{100 * WITHIN_RATIO:g} %"
        ),
        ratio=None,
        command=COMMAND,
        holds=beyond == 0,
    )


def _against_bound(models: int) -> Row:
    gaps = [
        allocate(instance(models, seed=7, tightness=tightness)).gap_ratio
        for tightness in LARGE_TIGHTNESS
    ]
    return Row(
        name=f"gap to the bound, {4 * models} variants",
        value=100 * float(np.mean(gaps)),
        unit="%",
        baseline=f"worst {100 * max(gaps):.2f} %, to stay within {100 * LARGE_WITHIN_RATIO:g} %",
        ratio=None,
        command=COMMAND,
        holds=max(gaps) <= LARGE_WITHIN_RATIO,
    )


if __name__ == "__main__":
    run_bench(measure)
