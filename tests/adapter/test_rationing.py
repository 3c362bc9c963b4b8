"""What runs is taken into account when something runs out: reclaim, holds, order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapter.decide import policy_of
from adapter.plan_file import build_request, parse_plan_file
from optimizer import Binding, plan

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "scarcity.yaml"
CHAT, ASSISTANT, PLAYGROUND, NIGHTLY = range(4)


def request(*changes: str, current=None, capacity=12, **flags):
    catalog, demand = parse_plan_file(
        EXAMPLE.read_text(), origin="scarcity", demand=changes, capacity=[f"H100={capacity}"]
    )
    asked = build_request(catalog, demand, policy_of(catalog))
    columns = {name: np.asarray(values) for name, values in flags.items()}
    if current is not None:
        there = np.asarray(current, dtype=np.int64)
        columns |= {"current_replicas": there, "ready_replicas": there}
    return replace(asked, variants=replace(asked.variants, **columns))


def test_capacity_is_taken_back_from_lower_classes_in_one_step():
    found = plan(request("chat=150", current=[3, 3, 2, 4]))
    assert found.desired[CHAT] > 3
    assert found.desired[NIGHTLY] < 4
    assert found.desired.sum() <= 12
    assert found.binding[NIGHTLY] == Binding.PRIORITY
    assert found.unmet_ratio[CHAT] == 0.0
    assert found.scarce.all()


def test_what_fits_is_left_as_it_is():
    found = plan(request(current=[3, 3, 2, 4], capacity=40))
    assert found.desired[:3].tolist() == [3, 3, 2]
    assert not found.scarce.any()
    assert not found.gap_ratio.any()


def test_a_variant_with_silent_replicas_gives_nothing_up():
    silent = [False, False, False, True]
    found = plan(request("chat=150", current=[3, 3, 2, 4], partial=silent))
    assert found.desired[NIGHTLY] == 4
    assert found.desired.sum() <= 12


@pytest.mark.parametrize("capacity", [2, 5, 9, 12])
def test_the_order_of_variants_does_not_matter(capacity):
    asked = request(capacity=capacity, current=[1, 1, 1, 1])
    order = np.array([2, 0, 3, 1])
    place = np.argsort(order)
    supply = asked.supply
    shuffled = replace(
        asked,
        variant_names=tuple(asked.variant_names[i] for i in order),
        variants=asked.variants.take(order),
        profiles=asked.profiles.take(order),
        limits=asked.limits.take(order),
        workloads=asked.workloads.take(order),
        slo=asked.slo.take(order),
        observations=asked.observations.take(order),
        supply=supply.reordered(place),
    )
    assert plan(shuffled).desired.tolist() == plan(asked).desired[order].tolist()


def test_counts_keep_within_bounds_and_capacity():
    for capacity in range(2, 14):
        asked = request("chat=+80%", capacity=capacity, current=[2, 2, 2, 2])
        found = plan(asked)
        assert (found.desired >= asked.variants.min_replicas).all()
        assert (found.desired <= asked.variants.max_replicas).all()
        assert found.desired.sum() <= capacity
