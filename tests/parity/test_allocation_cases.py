"""Other optimizers' instances: the reference MILP and the two sample systems of Inferno."""

import json
from pathlib import Path

import numpy as np
import pytest

from optimizer.problem import Problem
from optimizer.scarcity import SolverLimits, allocate
from optimizer.sizing import largest_rates
from optimizer.supply import Uses

from .model_a import ModelA, analyze

SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "inferno-sample"

COST = np.array([0.5, 1, 1.2, 2.3, 2.7, 5.6, 7, 10])
RATE = np.array([0.1, 0.2, 0.4, 0.6, 0.9, 1.4, 2, 3.2])
DEMAND = np.array([10.0, 20, 30, 40, 50])
AVAILABLE = np.array([512.0, 256, 192, 128, 98, 64, 48, 32])
UNITS = np.array(
    [
        [3, 2, 2, 2, 1, 1, 1, 1],
        [4, 3, 3, 2, 2, 1, 1, 1],
        [5, 4, 3, 2, 2, 2, 1, 1],
        [5, 4, 3, 3, 2, 2, 2, 2],
        [6, 5, 4, 4, 3, 3, 2, 2],
    ],
    dtype=float,
)


def problem_of(*, service, rate, cost, demand, priority, units, kind, capacity, single) -> Problem:
    count = len(service)
    zeros = np.zeros(count, dtype=np.int64)
    return Problem(
        service=service,
        role=zeros,
        rate_rps=rate,
        cost_per_hour=cost,
        start_per_hour=np.zeros(count),
        stop_per_hour=np.zeros(count),
        current=zeros,
        lowest=zeros,
        highest=np.full(count, 2000),
        demand_rps=demand[:, None],
        priority=priority,
        uses=Uses.none()
        if capacity is None
        else Uses(resource=kind, variant=np.arange(count), units=units, capacity=capacity),
        single=single,
    )


@pytest.mark.parametrize(
    ("limited", "single", "expected"),
    [
        pytest.param(False, False, 747.0, id="several-accelerators-unlimited"),
        pytest.param(True, False, 760.5, id="several-accelerators-limited"),
        pytest.param(False, True, 765.4, id="one-accelerator-each-unlimited"),
        pytest.param(True, True, 773.0, id="one-accelerator-each-limited"),
    ],
)
def test_reference_instance_is_solved_to_its_optimum(limited, single, expected):
    problem = problem_of(
        service=np.repeat(np.arange(5), 8),
        rate=np.tile(RATE, 5),
        cost=(UNITS * COST).ravel(),
        demand=DEMAND,
        priority=np.ones(5, dtype=np.int64),
        units=UNITS.ravel(),
        kind=np.tile(np.arange(8), 5),
        capacity=AVAILABLE if limited else None,
        single=single,
    )
    found = allocate(problem, limits=SolverLimits(gap_ratio=0.0, nodes=2000))
    assert problem.fits(found.counts).all()
    assert not found.unmet_ratio.any()
    assert problem.spend(found.counts) == pytest.approx(expected)


class System:
    """One of Inferno's sample systems, with Model A's rates (queue ten times the batch)."""

    def __init__(self, size: str) -> None:
        def read(name):
            return json.loads((SAMPLE / size / f"{name}-data.json").read_text())

        self.accelerators = {a["name"]: a for a in read("accelerator")["accelerators"]}
        self.performance = {(m["name"], m["acc"]): m for m in read("model")["models"]}
        self.servers = read("server")["servers"]
        self.classes = {c["name"]: c for c in read("serviceclass")["serviceClasses"]}
        self.capacity = {c["type"]: c["count"] for c in read("capacity")["count"]}
        self.solution = read("solution")["allocations"]

    def model_a(self, rows) -> ModelA:
        found = [self.performance[(s["model"], acc)] for s, acc in rows]
        loads = [s["currentAlloc"]["load"] for s, _ in rows]
        output = np.array([load["AvgOutTokens"] for load in loads], dtype=float)
        batch = [m["maxBatchSize"] * m["atTokens"] for m in found]
        size = np.maximum(np.array(batch) // output, 1.0)
        return ModelA(
            **{
                f"{name}_s": np.array([m["perfParms"][name] for m in found]) / 1e3
                for name in ("alpha", "beta", "gamma")
            },
            input_tokens=np.array([load["AvgInTokens"] for load in loads], dtype=float),
            output_tokens=output,
            max_batch_size=size.astype(np.int64),
            max_queue_size=10.0 * size,
        )

    def targets_s(self, server) -> tuple[float, float]:
        of = {t["model"]: t for t in self.classes[server["class"]]["modelTargets"]}
        target = of[server["model"]]
        return target["slo-ttft"] / 1e3, target["slo-itl"] / 1e3

    def rates_rps(self, rows) -> np.ndarray:
        model = self.model_a(rows)
        ttft_s, itl_s = (
            np.array(x) for x in zip(*(self.targets_s(s) for s, _ in rows), strict=True)
        )

        def excess(rate_rps, index):
            found = analyze(model.take(index), rate_rps)
            return np.log(found.ttft_s / ttft_s[index]), np.log(found.itl_s / itl_s[index])

        ttft, itl = largest_rates(excess, model.largest_rps, tolerance=1e-9)
        rate = np.minimum(ttft, itl)
        served = analyze(model, np.maximum(rate, model.smallest_rps)).stationary.throughput_rps
        return np.where(rate > 0, served, 0.0)

    def problem(self, *, single: bool) -> Problem:
        rows = [
            (server, acc)
            for server in self.servers
            for acc in self.accelerators
            if (server["model"], acc) in self.performance
        ]
        index = {s["name"]: i for i, s in enumerate(self.servers)}
        kinds = list(self.capacity)
        units = np.array(
            [max(1, self.performance[(s["model"], acc)]["accCount"]) for s, acc in rows],
            dtype=float,
        )
        return problem_of(
            service=np.array([index[s["name"]] for s, _ in rows]),
            rate=self.rates_rps(rows),
            cost=units * np.array([self.accelerators[acc]["cost"] for _, acc in rows]),
            demand=np.array([s["currentAlloc"]["load"]["arrivalRate"] / 60 for s in self.servers]),
            priority=np.array([self.classes[s["class"]]["priority"] for s in self.servers]),
            units=units * np.array([self.accelerators[acc]["multiplicity"] for _, acc in rows]),
            kind=np.array([kinds.index(self.accelerators[acc]["type"]) for _, acc in rows]),
            capacity=np.array([self.capacity[k] for k in kinds], dtype=float),
            single=single,
        )


pytestmark = pytest.mark.skipif(
    not SAMPLE.is_dir(), reason="Inferno's sample systems (../shared/reference) are absent"
)


@pytest.mark.parametrize("size", ["small", "large"])
def test_latencies_at_the_stored_allocations_agree(size):
    system = System(size)
    named = {s["name"]: s for s in system.servers}
    stored = [(named[name], a) for name, a in system.solution.items()]
    model = system.model_a([(server, a["accelerator"]) for server, a in stored])
    each_rps = np.array([a["load"]["arrivalRate"] / 60 / a["numReplicas"] for _, a in stored])
    found = analyze(model, each_rps)
    itl_ms = [a["itlAverage"] for _, a in stored]
    ttft_ms = [a["ttftAverage"] for _, a in stored]
    np.testing.assert_allclose(1e3 * found.itl_s, itl_ms, rtol=1e-3)
    np.testing.assert_allclose(1e3 * (found.ttft_s), ttft_ms, rtol=1e-3)


@pytest.mark.parametrize(
    ("size", "single", "stored"),
    [
        pytest.param("small", False, 39_743, id="small"),
        pytest.param("large", False, 27_007, id="large"),
        pytest.param("small", True, 39_743, id="small-one-accelerator-each"),
        pytest.param("large", True, 27_007, id="large-one-accelerator-each"),
    ],
)
def test_our_plan_costs_at_most_what_theirs_does(size, single, stored):
    problem = System(size).problem(single=single)
    found = allocate(problem)
    assert problem.fits(found.counts).all()
    assert not found.unmet_ratio.any()
    assert problem.spend(found.counts) <= stored
