"""How requests divide over unequal replicas, and what that makes of capacity."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer import (
    Basis,
    EngineLimits,
    Law,
    ModelTable,
    Observations,
    PlanRequest,
    Policy,
    ReplicaTable,
    RoutingTable,
    ServiceProfiles,
    SloTargets,
    Supply,
    Uses,
    VariantTable,
    Workloads,
    plan,
)
from optimizer.router import RouterState, observe_routing
from optimizer.routing import Routed, division, rates_at, routed
from optimizer.tiers import rates_side_by_side

FAST, SLOW = range(2)
EQUAL, LEAST, WEIGHTED, SEPARATE = (
    Law.EQUAL_PER_REPLICA,
    Law.LEAST_LOADED,
    Law.WEIGHTED,
    Law.SEPARATE,
)


def column(value, count=2):
    return np.full(count, float(value)) if np.isscalar(value) else np.array(value, dtype=float)


def question(*, law=Law.LEARNED, rate=20.0, current=(1, 1), least=(0, 0), most=(20, 20), **more):
    """One model on two types of replica, the first three times as fast and as dear."""
    current = np.array(current)
    count = len(current)
    slow = np.array([1.0, 3.0, 2.0])[:count]
    request = PlanRequest(
        variant_names=("fast", "slow", "other")[:count],
        model_names=("model",),
        variants=VariantTable.of(
            np.zeros(count, dtype=np.int64),
            cost_per_hour=np.array([3.5, 1.0, 1.5])[:count],
            min_replicas=np.array(least),
            max_replicas=np.array(most),
            current_replicas=current,
            cold_start_s=column(60.0, count),
        ),
        models=ModelTable.of(column(rate, 1)),
        profiles=ServiceProfiles(
            iteration_base_s=0.006 * slow,
            decode_slope_s=1.2e-5 * slow,
            prefill_slope_s=2.0e-5 * slow,
            kv_slope_s=4.0e-8 * slow,
            ttft_constant_s=column(0.0, count),
        ),
        limits=EngineLimits(
            max_batch_size=np.full(count, 128),
            max_queue_size=np.full(count, 1000),
            kv_capacity_tokens=column(400_000, count),
            max_batched_tokens=column(8192, count),
        ),
        workloads=Workloads(
            prompt_tokens_mean=column(500, count),
            prompt_tokens_second_moment=column(500_000, count),
            output_tokens_mean=column(200, count),
            output_tokens_second_moment=column(80_000, count),
            prefix_hit_ratio=column(0, count),
        ),
        slo=SloTargets(
            ttft_s=column(1.0, count),
            itl_s=column(0.05, count),
            percentile_ratio=column(0.95, count),
            throughput_tps=column(0, count),
        ),
        observations=Observations.none(count),
        policy=Policy(),
        routing=RoutingTable.of(np.full(count, int(law))),
        now_s=1000.0,
    )
    return replace(request, **more)


def settled(request, ticks=4):
    """Decide as often as it takes until what is asked for is there."""
    for _ in range(ticks):
        found = plan(request)
        there = replace(
            request.variants, current_replicas=found.desired, ready_replicas=found.desired
        )
        state = found.state
        request = replace(request, variants=there, state=state, now_s=request.now_s + 5.0)
    return found


def router_of(weight, rows=(0, 0)):
    count = len(weight)
    return Routed(
        rows=np.array(rows),
        law=np.full(count, int(WEIGHTED)),
        basis=np.full(count, int(Basis.DECLARED)),
        weight=np.array(weight, dtype=float),
        state=RouterState.empty(),
    )


@pytest.mark.parametrize(
    ("weight", "counts", "carried"),
    [
        ((1, 1), (2, 3), 5 * 2.0),
        ((1, 1), (2, 0), 2 * 6.0),
        ((3, 1), (2, 3), 9 * 2.0),
        ((6, 1), (2, 3), 15 * 1.0),
        ((np.nan, np.nan), (2, 3), 2 * 6.0 + 3 * 2.0),
    ],
    ids=["equal shares", "alone", "as they can", "too much for the fast", "by capacity"],
)
def test_the_worst_for_its_share_is_full_first(weight, counts, carried):
    counts = np.array(counts)
    rates = rates_at(router_of(weight), np.array([6.0, 2.0]), counts)
    assert counts @ rates == pytest.approx(carried)


def test_models_do_not_bind_each_other():
    router = router_of((1, 1, 1, 1), rows=(0, 0, 2, 2))
    rates = rates_at(router, np.array([6.0, 2.0, 5.0, 9.0]), np.array([1, 1, 1, 1]))
    assert rates.tolist() == [2.0, 2.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("weight", "expected"),
    [((1, 1), (0.4, 0.6)), ((3, 1), (2 / 3, 1 / 3)), ((np.nan, np.nan), (2 / 3, 1 / 3))],
    ids=["equal shares", "weights", "by capacity"],
)
def test_requests_divide_as_the_law_says(weight, expected):
    part = division(router_of(weight), np.array([6.0, 2.0]), np.array([2, 3]))
    assert part == pytest.approx(expected)


def cheapest_by_brute_force(rates, weights, cost, demand, most, least):
    best = np.inf
    for counts in product(*(range(low, high + 1) for low, high in zip(least, most, strict=True))):
        n = np.array(counts)
        running = n > 0
        if not running.any():
            continue
        carried = n @ weights * (rates / weights)[running].min()
        if carried >= demand * (1 - 1e-9):
            best = min(best, n @ cost)
    return best


@given(
    st.lists(st.floats(0.5, 20), min_size=3, max_size=3),
    st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=3, max_size=3),
    st.lists(st.floats(0.5, 5), min_size=3, max_size=3),
    st.floats(0.1, 60),
    st.tuples(*[st.integers(0, 1)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_the_variants_side_by_side_hold_the_cheapest_mix(rates, weights, cost, demand, least):
    rates, weights, cost = (np.array(each) for each in (rates, weights, cost))
    asked = question(current=(0, 0, 0), least=least, most=(6, 6, 6))
    free = replace(asked.policy, change_price_ratio=0.0)
    variants = replace(asked.variants, cost_per_hour=cost)
    planned = rates_side_by_side(
        replace(asked, policy=free, variants=variants),
        router_of(weights, rows=(0, 0, 0)),
        rate_rps=rates,
        known=np.ones(3, dtype=bool),
        demand_rps=np.array([demand]),
        cold_start_s=np.zeros(3),
    )
    reached = [
        (np.array(n) @ cost, n)
        for n in product(*(range(low, 7) for low in least))
        if np.array(n) @ planned >= demand * (1 - 1e-9) and not (np.array(n)[planned == 0]).any()
    ]
    best = cheapest_by_brute_force(rates, weights, cost, demand, (6, 6, 6), least)
    if np.isfinite(best):
        assert min(reached)[0] <= best + 1e-9
        n = np.array(min(reached)[1])
        worst = (rates / weights)[n > 0].min(initial=np.inf)
        assert n @ weights * worst >= demand * (1 - 1e-9)


def test_equal_shares_are_not_planned_as_if_each_got_what_it_can_do():
    by_capacity, equal = (
        settled(question(law=law, rate=40.0, least=(1, 1))) for law in (LEAST, EQUAL)
    )
    own = equal.capacity_rps
    assert by_capacity.desired @ own < equal.desired @ own
    assert equal.desired.sum() * own.min() >= 40.0
    each = equal.share_rps / equal.desired
    assert each[FAST] == pytest.approx(each[SLOW])
    assert (each <= own).all()
    assert (equal.ttft_s <= 1.0).all()


def test_a_slow_variant_is_left_out_where_it_would_hold_the_others_back():
    found = settled(question(law=EQUAL, rate=60.0, current=(2, 0), least=(1, 0), most=(30, 4)))
    assert found.desired[SLOW] == 0
    assert found.routed_rps[SLOW] == 0.0
    assert found.routed_rps[FAST] == found.capacity_rps[FAST]


def test_a_slow_variant_that_must_run_binds_the_fast_ones():
    found = settled(question(law=EQUAL, rate=20.0, least=(1, 1)))
    assert found.routed_rps[FAST] == pytest.approx(found.capacity_rps[SLOW])


def test_weights_as_declared_divide_the_requests():
    weighted = replace(
        question(law=WEIGHTED, rate=30.0, least=(1, 1)),
        routing=RoutingTable.of(np.full(2, int(WEIGHTED)), weight=np.array([2.0, 1.0])),
    )
    found = settled(weighted)
    each = found.share_rps / found.desired
    assert each[FAST] == pytest.approx(2.0 * each[SLOW])
    assert found.law_basis.tolist() == [Basis.DECLARED, Basis.DECLARED]


def test_weights_that_follow_the_plan_divide_by_capacity():
    found = settled(question(law=WEIGHTED, rate=30.0, least=(1, 1)))
    each = found.share_rps / found.desired
    assert each == pytest.approx(each[SLOW] * found.capacity_rps / found.capacity_rps[SLOW])


@pytest.mark.parametrize(("rates", "expected"), [((10.0, 50.0), "slow"), ((50.0, 10.0), "fast")])
def test_separate_variants_are_decided_for_their_own_requests(rates, expected):
    asked = question(law=SEPARATE, rate=60.0)
    seen = replace(asked.routing, arriving_rps=np.array(rates))
    found = settled(replace(asked, routing=seen))
    own = found.capacity_rps
    assert (found.desired * own >= np.array(rates)).all()
    assert found.share_rps == pytest.approx(rates)
    most = FAST if expected == "fast" else SLOW
    assert found.share_rps.argmax() == most


def test_nothing_moves_between_separate_variants_even_where_one_is_full():
    asked = question(law=SEPARATE, rate=60.0, most=(30, 2))
    seen = replace(asked.routing, arriving_rps=np.array([20.0, 40.0]))
    found = settled(replace(asked, routing=seen))
    alone = settled(replace(question(law=LEAST, rate=20.0, most=(30, 0), current=(1, 0))))
    assert found.desired[SLOW] == 2
    assert found.desired[FAST] == alone.desired[FAST]
    assert found.unmet_ratio[SLOW] > 0.3
    assert found.unmet_ratio[FAST] == 0.0


def test_what_waits_for_separate_variants_waits_for_those_without_a_replica():
    asked = question(law=SEPARATE, rate=5.0, current=(1, 0))
    models = ModelTable.of(column(5.0, 1), router_queue_requests=column(3.0, 1))
    seen = replace(asked.routing, arriving_rps=np.array([5.0, np.nan]))
    found = plan(replace(asked, models=models, routing=seen))
    assert found.desired[SLOW] == 1


def test_equal_shares_hold_where_accelerators_run_out():
    asked = question(law=EQUAL, rate=200.0, current=(1, 1), least=(1, 1))
    supply = replace(
        Supply.unlimited(1, 2),
        uses=Uses(
            resource=np.array([0, 1]),
            variant=np.array([0, 1]),
            units=np.ones(2),
            capacity=np.array([4.0, 6.0]),
        ),
        names=("FAST", "SLOW"),
        spares_running=np.zeros(2, dtype=bool),
    )
    found = settled(replace(asked, supply=supply))
    carried = found.desired.sum() * found.capacity_rps.min()
    assert found.desired.tolist() == [4, 6]
    assert found.unmet_ratio[0] == pytest.approx(1.0 - carried / 200.0, abs=0.2)
    assert found.unmet_ratio[0] >= 1.0 - carried / 200.0 - 1e-6


# Learning the law from what arrives and what runs.


def shown(state, rate, in_flight, *, passed_s=5.0, times=1, names=("fast", "slow")):
    for _ in range(times):
        state = observe_routing(
            state,
            names=names,
            rows=np.zeros(len(names), dtype=np.int64),
            rate_rps=np.array(rate, dtype=float),
            in_flight_requests=np.array(in_flight, dtype=float),
            passed_s=passed_s,
        )
    return state


@pytest.mark.parametrize(
    ("rate", "in_flight", "law"),
    [
        ((5.0, 5.1), (10, 30), EQUAL),
        ((9.0, 3.2), (20, 21), LEAST),
        ((9.0, 4.5), (12, 40), WEIGHTED),
        ((5.0, 5.0), (1, 2.5), Law.LEARNED),
        ((5.0, 5.1), (20, 21), Law.LEARNED),
        ((5.0, np.nan), (20, np.nan), Law.LEARNED),
    ],
    ids=["equal rates", "equal load", "fixed shares", "nothing to do", "alike", "only one runs"],
)
def test_the_law_shows_in_what_is_even(rate, in_flight, law):
    assert shown(RouterState.empty(), rate, in_flight).law.tolist() == [law, law]


def test_one_odd_reading_does_not_change_a_law_that_was_seen_for_long():
    state = shown(RouterState.empty(), (5.0, 5.0), (10, 30), times=60)
    assert shown(state, (9.0, 3.0), (20, 20)).law.tolist() == [EQUAL, EQUAL]


def test_another_law_is_learned_after_a_while():
    state = shown(RouterState.empty(), (5.0, 5.0), (10, 30), times=60)
    assert shown(state, (9.0, 3.0), (20, 20), times=120).law.tolist() == [LEAST, LEAST]


def test_a_law_is_kept_while_nothing_can_be_compared_and_holds_for_new_variants():
    state = shown(RouterState.empty(), (5.0, 5.0), (10, 30), times=3)
    state = shown(state, (5.0, np.nan), (10, np.nan), times=50)
    assert state.law.tolist() == [EQUAL, EQUAL]
    three = shown(
        state, (5.0, 5.0, np.nan), (10, 30, np.nan), times=1, names=("fast", "slow", "new")
    )
    assert three.law.tolist() == [EQUAL] * 3


def test_a_plan_goes_by_the_law_that_it_learned():
    asked = question(rate=20.0, current=(2, 2), least=(1, 1))
    seen = replace(
        asked.routing,
        arriving_rps=np.array([10.0, 10.0]),
        arriving_each_rps=np.array([5.0, 5.0]),
    )
    replicas = ReplicaTable(
        variant=np.array([0, 0, 1, 1]),
        running_requests=np.array([8.0, 8.0, 24.0, 24.0]),
        waiting_requests=np.zeros(4),
        kv_usage_ratio=np.full(4, 0.2),
        kv_capacity_tokens=np.full(4, 400_000.0),
        first_token_rate_rps=np.full(4, np.nan),
        output_rate_tps=np.full(4, np.nan),
    )
    found = plan(replace(asked, routing=seen, replicas=replicas))
    assert found.law.tolist() == [EQUAL, EQUAL]
    assert found.law_basis.tolist() == [Basis.MEASURED, Basis.MEASURED]
    assert found.routed_rps[FAST] == pytest.approx(found.capacity_rps[SLOW])
    # ... and remembers it while nobody reports.
    later = replace(asked, state=found.state, now_s=1005.0)
    assert routed(later).law.tolist() == [EQUAL, EQUAL]


def test_nothing_learned_means_by_capacity():
    found = plan(question(rate=20.0))
    assert found.law.tolist() == [Law.LEARNED] * 2
    assert found.law_basis.tolist() == [Basis.ASSUMED] * 2


# Kept out of moves, and ahead of a switch.


def held(arriving, *, current=(1, 1), rate=30.0, takes_over=(-1, -1), law=(LEAST, SEPARATE)):
    asked = question(rate=rate, current=current)
    table = replace(
        asked.routing,
        law=np.array([int(each) for each in law]),
        arriving_rps=np.array(arriving, dtype=float),
        takes_over=np.array(takes_over),
    )
    return replace(asked, routing=table)


def test_a_canary_is_decided_for_its_own_requests_and_the_rest_is_the_others():
    found = settled(held((25.0, 5.0)))
    assert found.share_rps == pytest.approx([25.0, 5.0])
    assert (found.desired * found.capacity_rps >= [25.0, 5.0]).all()
    # It costs more per request than the other, and still isn't moved.
    dear = held((25.0, 5.0))
    cost = replace(dear.variants, cost_per_hour=np.array([1.0, 9.0]))
    assert settled(replace(dear, variants=cost)).desired[SLOW] >= 1


def test_a_canary_that_nobody_hears_takes_nothing_from_what_the_others_are_decided_for():
    asked = held((25.0, np.nan), rate=25.0)
    blind = replace(asked.variants, blind=np.array([False, True]))
    found = plan(replace(asked, variants=blind))
    assert found.share_rps[FAST] == pytest.approx(25.0)
    assert found.desired[SLOW] == 1


def test_who_takes_over_is_ready_for_the_old_ones_requests_before_the_switch():
    old, new = FAST, SLOW
    asked = held((30.0, np.nan), current=(3, 0), takes_over=(-1, old), law=(LEAST, LEAST))
    found = settled(asked)
    assert found.desired[new] * found.capacity_rps[new] >= 30.0
    assert found.desired[old] * found.capacity_rps[old] >= 30.0
    assert found.share_rps[new] == pytest.approx(30.0)


def test_after_the_switch_the_old_one_goes_and_the_new_one_stays():
    new = SLOW
    asked = held((0.0, 30.0), current=(1, 8), takes_over=(-1, FAST), law=(LEAST, LEAST))
    found = plan(asked)
    assert found.share_rps == pytest.approx([0.0, 30.0])
    assert found.desired[new] * found.capacity_rps[new] >= 30.0


def test_rows_of_a_takeover_follow_the_variants_order():
    table = RoutingTable.of(np.zeros(3, dtype=np.int64), takes_over=np.array([2, -1, 0]))
    order = np.array([1, 2, 0])
    assert table.reordered(order).takes_over.tolist() == [-1, 2, 1]


def two_models(law, fast_there):
    """The model of `question` twice, the first one's class higher; few of the fast type."""
    one = question(law=law, rate=60.0, current=(0, 0))

    def twice(record):
        return record.take(np.array([0, 1, 0, 1]))

    return replace(
        one,
        variant_names=("a fast", "a slow", "b fast", "b slow"),
        model_names=("a", "b"),
        variants=replace(
            twice(one.variants),
            model=np.array([0, 0, 1, 1]),
            cost_per_hour=np.array([1.2, 1.0, 1.2, 1.0]),
        ),
        models=ModelTable.of(np.array([60.0, 40.0])),
        profiles=twice(one.profiles),
        limits=twice(one.limits),
        workloads=twice(one.workloads),
        slo=twice(one.slo),
        observations=twice(one.observations),
        routing=twice(one.routing),
        supply=replace(
            Supply.unlimited(2, 4),
            uses=Uses(
                resource=np.array([0, 0]),
                variant=np.array([0, 2]),
                units=np.ones(2),
                capacity=np.array([float(fast_there)]),
            ),
            names=("FAST",),
            spares_running=np.zeros(1, dtype=bool),
            priority=np.array([1, 2]),
        ),
    )


def test_who_gets_none_of_the_type_that_it_would_choose_is_served_by_the_other():
    alone = settled(two_models(EQUAL, 99))
    assert alone.desired[[1, 3]].tolist() == [0, 0], "the slow type binds, and is left out"
    short = settled(two_models(EQUAL, alone.desired[0]))
    assert short.unmet_ratio.max() == 0.0
    assert short.desired[3] * short.capacity_rps[3] >= 40.0
