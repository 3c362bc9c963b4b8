"""All counts that are nearly the best at given prices: against all counts there are."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.random_systems import instance
from optimizer.candidates import Candidates, members_of
from optimizer.enumeration import Pricing, alone
from optimizer.scarcity import allocate, penalties

from .test_scarcity import small


def priced(candidates: Candidates, paid) -> np.ndarray:
    each = np.append(paid, 0.0)[candidates.members.variant[candidates.service]]
    return candidates.value + (candidates.counts * each).sum(axis=1)


def every(problem, members, penalty, service: int) -> Candidates:
    """Return all counts of a service."""
    variants = members.variant[service]
    ranges = [range(problem.lowest[v], problem.highest[v] + 1) for v in variants if v >= 0]
    counts = np.array(list(product(*ranges)), dtype=np.int64)
    padded = np.zeros((len(counts), len(variants)), dtype=np.int64)
    padded[:, : counts.shape[1]] = counts
    return Candidates.of(members, penalty, np.full(len(counts), service), padded)


def varied(seed: int):
    """Return a small system in which any of the things that prices depend on may occur."""
    rng = np.random.default_rng(seed)
    problem = small(seed)
    count = len(problem.service)
    if seed % 3 == 0:
        problem = replace(problem, lowest=np.minimum(problem.highest, rng.integers(0, 2, count)))
    if seed % 5 == 0:
        problem = replace(problem, rate_rps=problem.rate_rps * (rng.random(count) > 0.3))
    if seed % 7 == 0:
        problem = replace(problem, stop_per_hour=2.0 * problem.cost_per_hour)
    return problem, rng.uniform(0.0, 3.0, count) * (seed % 2)


@given(st.integers(0, 5000), st.floats(0.0, 20.0))
@settings(max_examples=60, deadline=None)
def test_nothing_is_below_the_least_and_the_best_is_found(seed, extra):
    problem, paid = varied(seed)
    members, penalty = members_of(problem), penalties(problem)
    pricing = Pricing(members, penalty, paid, np.arange(len(problem.demand_rps)))
    limit = pricing.rounded()
    assert (pricing.relaxed() <= limit + 1e-6 * np.abs(limit)).all()
    near = pricing.near(limit + extra)
    found = Candidates.of(members, penalty, near.service, near.counts)
    values = priced(found, paid)
    assert (values <= (limit + extra)[found.service] * (1 + 1e-6) + 1e-6).all()
    for service in range(len(problem.demand_rps)):
        best = priced(every(problem, members, penalty, service), paid).min()
        assert near.least[service] == pytest.approx(best, rel=1e-6, abs=1e-6)
        assert values[found.service == service].min() == pytest.approx(best, rel=1e-6, abs=1e-6)


def test_many_counts_are_left_out_but_not_out_of_the_least():
    problem = instance(4, seed=3, most=2000)
    problem = replace(problem, demand_rps=300.0 * problem.demand_rps)
    members, penalty = members_of(problem), penalties(problem)
    pricing = Pricing(members, penalty, np.zeros(len(problem.service)), np.arange(4))
    assert (pricing.near(pricing.rounded() * 1.5).least >= pricing.relaxed() * (1 - 1e-9)).all()


def test_services_of_two_roles_are_not_known_here():
    problem = instance(3, seed=1)
    assert alone(problem).all()
    two = np.concatenate([problem.demand_rps, problem.demand_rps * [[0.0], [1.0], [0.0]]], axis=1)
    assert alone(replace(problem, demand_rps=two)).tolist() == [True, False, True]


@pytest.mark.parametrize("seed", range(12))
def test_the_bound_is_below_what_brute_force_finds(seed):
    problem = small(seed)
    plans = np.array(list(product(*[range(h + 1) for h in problem.highest])))
    penalty = penalties(problem)
    best = min(
        problem.spend(plan) + (penalty * problem.unmet(plan)).sum()
        for plan in plans
        if problem.fits(plan).all()
    )
    found = allocate(problem)
    # Parts of which nothing runs out are in neither figure.
    if found.scarce.all():
        assert found.bound <= best * (1 + 1e-6) + 1e-6
