"""Who gets what when not everything fits: against brute force, the exact solver, and laws."""

from dataclasses import fields, replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.random_systems import instance, loses_less, value
from optimizer.errors import InvalidInputError
from optimizer.mip import exact
from optimizer.problem import Problem
from optimizer.scarcity import SolverLimits, allocate, penalties
from optimizer.supply import Uses


def small(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    models = int(rng.integers(1, 4))
    problem = instance(
        models, seed=seed, variants_each=2, types=2, classes=2, tightness=rng.uniform(0.3, 1.5)
    )
    top = np.maximum(np.ceil(problem.demand_rps[problem.service, 0] / problem.rate_rps), 1)
    return changed(problem, highest=np.minimum(top, 3).astype(np.int64))


def changed(problem: Problem, **columns) -> Problem:
    return replace(problem, **columns)


@pytest.mark.parametrize("seed", range(25))
def test_small_systems_are_solved_as_brute_force_solves_them(seed):
    problem = small(seed)
    plans = np.array(list(product(*[range(h + 1) for h in problem.highest])))
    best = min(value(problem, plan) for plan in plans if problem.fits(plan).all())
    found = allocate(problem, limits=SolverLimits(gap_ratio=0.0, nodes=5000))
    assert problem.fits(found.counts).all()
    assert value(problem, found.counts) <= best * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize(
    ("models", "seed"), [*((3, s) for s in range(8)), *((6, s) for s in range(8)), (12, 0), (12, 8)]
)
def test_within_a_hundredth_of_the_proven_optimum(models, seed):
    """A sample; 200 systems of up to 200 variants are in `bench.solver_quality`."""
    problem = instance(models, seed=seed, tightness=(0.9, 1.0, 1.1, 1.3)[seed % 4])
    found = allocate(problem)
    assert problem.fits(found.counts).all()
    optimum = exact(problem, penalties(problem), found.counts, nodes=5000, gap_ratio=1e-4)
    assert optimum is not None
    assert optimum.proven
    near = value(problem, found.counts) <= 1.01 * value(problem, optimum.counts)
    assert near or loses_less(problem, found.counts, optimum.counts)


@pytest.mark.parametrize("tightness", [0.7, 0.9, 1.1])
@pytest.mark.parametrize("models", [250, 1000], ids=["1000-variants", "4000-variants"])
def test_large_systems_are_within_a_hundredth_and_a_half_of_what_is_possible(models, tightness):
    problem = instance(models, seed=7, tightness=tightness)
    found = allocate(problem)
    assert problem.fits(found.counts).all()
    assert 0.0 <= found.gap_ratio <= 0.015


@pytest.mark.parametrize("seed", range(6))
def test_no_plan_is_worse_than_the_last_one(seed):
    problem = instance(12, seed=seed, tightness=0.9)
    first = allocate(problem)
    rng = np.random.default_rng(seed)
    moved = changed(
        problem,
        demand_rps=problem.demand_rps * rng.uniform(0.95, 1.05, (12, 1)),
        current=first.counts,
    )
    second = allocate(moved, last=first.counts)
    better = value(moved, second.counts) <= value(moved, first.counts) + 1e-6
    assert better or loses_less(moved, second.counts, first.counts)


@pytest.mark.parametrize("seed", range(12))
def test_a_higher_class_loses_nothing_to_a_lower_one(seed):
    problem = instance(12, seed=seed, tightness=0.6)
    alone = allocate(problem.limited_to(problem.priority == 1))
    together = allocate(problem)
    mine = problem.priority == 1
    lost = (problem.unmet(together.counts) * problem.requests_rps)[mine].sum()
    allowed = 1e-6 * problem.requests_rps[mine].sum()
    assert lost <= (problem.unmet(alone.counts) * problem.requests_rps)[mine].sum() + allowed


@given(st.integers(0, 200), st.floats(1.0, 1.5))
@settings(max_examples=25, deadline=None)
def test_more_demand_is_never_less_short(seed, factor):
    """With the exact optimum of small systems: what is lost of each class only grows."""
    problem = changed(small(seed), priority=np.ones(len(small(seed).priority), dtype=np.int64))
    proof = SolverLimits(gap_ratio=0.0, nodes=5000)
    before = problem.unmet_by_class(allocate(problem, limits=proof).counts)
    more = changed(problem, demand_rps=problem.demand_rps * factor)
    after = more.unmet_by_class(allocate(more, limits=proof).counts)
    assert after[0] >= before[0] - 1e-6


@given(st.integers(0, 200))
@settings(max_examples=20, deadline=None)
def test_the_order_of_services_does_not_change_what_is_lost_or_paid(seed):
    problem = small(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(problem.service))
    place = np.argsort(order)
    columns = {
        f.name: getattr(problem, f.name)[order]
        for f in fields(Problem)
        if f.name not in {"uses", "demand_rps", "priority", "single"}
    }
    uses = replace(problem.uses, variant=place[problem.uses.variant])
    shuffled = changed(problem, **columns, uses=uses)
    proof = SolverLimits(gap_ratio=0.0, nodes=5000)
    one, other = allocate(problem, limits=proof), allocate(shuffled, limits=proof)
    assert value(problem, one.counts) == pytest.approx(value(shuffled, other.counts))


@pytest.mark.parametrize("seed", range(5))
def test_the_same_input_gives_the_same_plan(seed):
    problem = instance(15, seed=seed, tightness=0.9)
    assert allocate(problem).counts.tolist() == allocate(problem).counts.tolist()


def one_type(
    *,
    demand,
    priority,
    highest=20,
    capacity=8.0,
    lowest=None,
    current=None,
    role=None,
    service=None,
) -> Problem:
    """Return services with one variant each on one accelerator type, one request/s a replica."""
    service = np.arange(len(demand)) if service is None else np.asarray(service)
    count = len(service)
    zeros = np.zeros(count, dtype=np.int64)
    demand = np.asarray(demand, dtype=float)
    return Problem(
        service=service,
        role=zeros if role is None else np.asarray(role),
        rate_rps=np.ones(count),
        cost_per_hour=np.ones(count),
        start_per_hour=np.zeros(count),
        stop_per_hour=np.zeros(count),
        current=zeros if current is None else np.asarray(current),
        lowest=zeros if lowest is None else np.asarray(lowest),
        highest=np.full(count, highest),
        demand_rps=demand if demand.ndim == 2 else demand[:, None],
        priority=np.asarray(priority),
        uses=Uses(
            resource=zeros,
            variant=np.arange(count),
            units=np.ones(count),
            capacity=np.array([capacity]),
        ),
    )


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        # The peer's rescale divides 8 GPUs 2/6 here, by demand-weighted priority. Ours gives
        # the higher class all that it needs: priority 1 is the highest.
        pytest.param(one_type(demand=[8, 8], priority=[3, 1]), [0, 8], id="priority-takes-all"),
        pytest.param(one_type(demand=[8, 4], priority=[3, 1]), [4, 4], id="the-rest-to-the-lower"),
        pytest.param(
            one_type(demand=[10, 10], priority=[1, 3], capacity=6, lowest=[2, 2]),
            [4, 2],
            id="floors-first",
        ),
        pytest.param(
            one_type(demand=[0, 8], priority=[1, 1], capacity=6, lowest=[1, 0]),
            [1, 5],
            id="idle-floor",
        ),
        pytest.param(
            one_type(demand=[9, 9], priority=[1, 1], capacity=6, lowest=[4, 3]),
            [4, 3],
            id="floors-beyond-capacity-are-kept",
        ),
        pytest.param(
            one_type(demand=[8, 8], priority=[2, 1], current=[8, 0], highest=8),
            [0, 8],
            id="taken-back-from-the-lower-class",
        ),
        pytest.param(
            one_type(demand=[3, 2], priority=[1, 1]), [3, 2], id="uncontended-is-untouched"
        ),
        pytest.param(
            one_type(demand=[8500 / 1000], priority=[1], capacity=20), [9], id="rounded-up"
        ),
        pytest.param(one_type(demand=[5], priority=[1], capacity=0), [0], id="none-there"),
        pytest.param(
            one_type(demand=[[2, 2]], priority=[1], service=[0, 0], role=[0, 1], capacity=9),
            [2, 2],
            id="roles-grow-together",
        ),
        pytest.param(
            one_type(demand=[[8, 8]], priority=[1], service=[0, 0], role=[0, 1], capacity=6),
            [3, 3],
            id="roles-are-short-together",
        ),
    ],
)
def test_shares_of_one_accelerator_type(problem, expected):
    assert allocate(problem).counts.tolist() == expected


def test_equal_claims_are_served_in_full_whoever_gets_them():
    found = allocate(one_type(demand=[7, 7], priority=[1, 1], capacity=7))
    assert found.counts.sum() == 7


def test_within_a_class_replicas_go_where_they_carry_most():
    problem = one_type(demand=[8, 8], priority=[1, 1], capacity=8)
    problem = changed(problem, rate_rps=np.array([1.0, 2.0]))
    assert allocate(problem).counts.tolist() == [4, 4]


def test_a_held_role_sizes_the_other():
    """Prefill is held at two replicas: decode isn't given more than they can feed."""
    problem = one_type(demand=[[8, 8]], priority=[1], service=[0, 0], role=[0, 1], capacity=100)
    problem = changed(problem, highest=np.array([2, 20]))
    assert allocate(problem).counts.tolist() == [2, 2]


def test_quota_and_type_bind_together():
    problem = one_type(demand=[5, 5], priority=[1, 1], capacity=8)
    uses = Uses(
        resource=np.array([0, 0, 1]),
        variant=np.array([0, 1, 0]),
        units=np.ones(3),
        capacity=np.array([8.0, 2.0]),
    )
    assert allocate(changed(problem, uses=uses)).counts.tolist() == [2, 5]


def test_what_is_known_of_the_plan_is_told():
    found = allocate(instance(10, seed=1, tightness=0.9))
    assert found.scarce.all()
    assert 0 <= found.gap_ratio < 1
    assert found.bound <= found.objective + 1e-6
    assert (found.price >= 0).all()
    assert found.price.any()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        pytest.param({"lowest": np.array([9])}, "lowest <= highest", id="reversed"),
        pytest.param({"rate_rps": np.array([np.nan])}, "rate_rps", id="nan-rate"),
        pytest.param({"demand_rps": np.array([[-1.0]])}, "demand_rps", id="negative-demand"),
    ],
)
def test_refuses_numbers_out_of_bounds(columns, message):
    with pytest.raises(InvalidInputError, match=message):
        changed(one_type(demand=[1], priority=[1], highest=5), **columns)
