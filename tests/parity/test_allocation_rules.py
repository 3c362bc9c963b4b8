"""The published optimizers' own cases: cost order, greedy sharing, rescale, quotas, limits.

Their numbers are tokens: required capacity on top of what runs, or spare capacity in it. Ours is
asked for the same total. Where it answers otherwise, the case says what it saves.
"""

import numpy as np
import pytest

from optimizer import Policy, Uses, VariantTable
from optimizer.problem import Problem
from optimizer.scarcity import allocate
from optimizer.stabilization import settle

CHEAP, MID, DEAR = (5.0, 10_000.0), (10.0, 15_000.0), (15.0, 20_000.0)
FREE = Policy(down_hysteresis_ratio=0.0, change_price_ratio=0.0)
TRICKLE = 1e-6


def alone(kinds, current, change, *, low=None, high=None, ready=None):
    """Settle one model whose variants are (cost, capacity) pairs, for `change` in its capacity."""
    cost, rate = np.array(kinds, dtype=float).T
    here, count = np.array(current), len(kinds)
    variants = VariantTable.of(
        np.zeros(count, dtype=np.int64),
        cost_per_hour=cost,
        min_replicas=np.zeros(count, dtype=np.int64),
        max_replicas=np.full(count, 99),
        current_replicas=here,
        ready_replicas=here if ready is None else np.array(ready),
    )
    need = np.array([max(here @ rate + change, TRICKLE)])
    found = settle(
        variants=variants,
        rate_rps=rate,
        lowest=np.zeros(count, dtype=np.int64) if low is None else np.array(low),
        highest=np.full(count, 99) if high is None else np.array(high),
        removable=here,
        need_rps=need,
        peak_rps=need,
        policy=FREE,
    )
    assert found.desired @ rate >= need[0] * (1 - 1e-9)
    return found.desired, float(found.desired @ cost)


@pytest.mark.parametrize(
    ("kinds", "current", "change", "bounds", "theirs"),
    [
        pytest.param([CHEAP, DEAR], [2, 1], 5_000, {}, [3, 1], id="up-cheapest"),
        pytest.param([CHEAP], [2], 15_000, {}, [4], id="up-in-one-step"),
        pytest.param([CHEAP], [3], -30_000, {}, [1], id="the-only-one-keeps-a-replica"),
        pytest.param([CHEAP], [2], 0, {}, [2], id="nothing-to-do"),
        pytest.param([CHEAP], [2], 10_000, {"ready": [1]}, [3], id="starting-ones-are-no-bar"),
        pytest.param([(1.0, 0.0), CHEAP], [0, 1], 10_000, {}, [0, 2], id="no-capacity-no-replica"),
        pytest.param(
            [CHEAP, DEAR], [3, 2], -15_000, {"high": [3, 2]}, [2, 2], id="down-what-can-be-spared"
        ),
        pytest.param([DEAR, CHEAP], [1, 1], -30_000, {}, [0, 1], id="down-dearest-first"),
        pytest.param(
            [DEAR, CHEAP], [1, 1], -15_000, {"high": [1, 1]}, [1, 0], id="down-the-smaller"
        ),
        pytest.param(
            [DEAR, CHEAP], [3, 3], -50_000, {"low": [2, 0]}, [2, 0], id="down-to-the-minimum"
        ),
        pytest.param(
            [DEAR, CHEAP], [2, 3], -80_000, {"low": [1, 0]}, [1, 0], id="down-to-the-kept-one"
        ),
    ],
)
def test_cost_order(kinds, current, change, bounds, theirs):
    assert alone(kinds, current, change, **bounds)[0].tolist() == theirs


@pytest.mark.parametrize(
    ("kinds", "current", "change", "bounds", "theirs", "saves"),
    [
        # One of the cheap and one of the middle are 25,000 for 15, as are three cheap ones.
        pytest.param([CHEAP, MID], [1, 0], 25_000, {}, [4, 0], 0, id="fewer-replicas-for-as-much"),
        # They remove the dearest first and stop where the next is too large.
        pytest.param(
            [DEAR, MID, CHEAP], [2, 2, 2], -50_000, {"high": [2, 2, 2]}, [0, 2, 1], 0, id="a-tie"
        ),
        # They fill the cheap ones to their bound before they look at what is still needed.
        pytest.param(
            [CHEAP, DEAR], [1, 1], 30_000, {"high": [3, 99]}, [3, 2], 5, id="no-more-than-needed"
        ),
        # They never start one variant to stop another: six cheap ones carry as much as this.
        pytest.param([CHEAP, DEAR], [3, 2], -15_000, {}, [2, 2], 10, id="swapped-for-cheaper"),
        pytest.param([DEAR, CHEAP], [1, 1], -15_000, {}, [1, 0], 5, id="swapped-for-two"),
    ],
)
def test_cost_order_where_ours_costs_less(kinds, current, change, bounds, theirs, saves):
    count = len(kinds)
    found, _ = alone(kinds, current, change, **bounds)
    # A swap is over once what is new is ready.
    for _ in range(2):
        rate = np.array(kinds).T[1]
        wanted = np.array(current) @ rate + change
        found, cost = alone(kinds, found, wanted - found @ rate, **bounds)
    assert cost == pytest.approx(np.array(theirs) @ np.array(kinds).T[0] - saves)
    if saves == 0:
        assert found.sum() <= sum(theirs)
    assert len(found) == count


def shared(
    *,
    demand,
    capacity,
    rate=10_000.0,
    gpus=2.0,
    current=1,
    priority=None,
    service=None,
    role=None,
    on=None,
    lowest=0,
    highest=99,
):
    """Share accelerators: `demand` in all of each service (and role), `on` the type of each variant."""
    demand = np.array(demand, dtype=float)
    demand = demand if demand.ndim == 2 else demand[:, None]
    service = np.arange(len(demand)) if service is None else np.array(service)
    count = len(service)

    def column(value, kind=float):
        return np.broadcast_to(np.array(value, dtype=kind), count).copy()

    zeros = np.zeros(count)
    return allocate(
        Problem(
            service=service,
            role=np.zeros(count, dtype=np.int64) if role is None else np.array(role),
            rate_rps=column(rate),
            cost_per_hour=column(5.0),
            start_per_hour=zeros,
            stop_per_hour=zeros,
            current=column(current, np.int64),
            lowest=column(lowest, np.int64),
            highest=column(highest, np.int64),
            demand_rps=demand,
            priority=np.ones(len(demand), dtype=np.int64) if priority is None else priority,
            uses=Uses(
                resource=np.zeros(count, dtype=np.int64) if on is None else np.array(on),
                variant=np.arange(count),
                units=column(gpus),
                capacity=np.array(capacity, dtype=float),
            ),
        )
    )


@pytest.mark.parametrize(
    ("asked", "theirs"),
    [
        pytest.param({"demand": [30_000], "capacity": [12]}, [3], id="enough"),
        pytest.param({"demand": [60_000], "capacity": [6]}, [3], id="as-many-as-fit"),
        pytest.param(
            {"demand": [65_000, 25_000], "rate": 15_000, "capacity": [12]},
            [4, 2],
            id="two-models",
        ),
        pytest.param({"demand": [30_000, 30_000], "capacity": [12]}, [3, 3], id="two-alike"),
        pytest.param(
            {"demand": [50_000], "rate": 20_000, "gpus": 4, "capacity": [8]}, [2], id="four-each"
        ),
        pytest.param(
            {
                "demand": [50_000],
                "service": [0, 0],
                "on": [0, 1],
                "capacity": [6, 2],
                "lowest": [1, 1],
            },
            [3, 1],
            id="one-type-is-used-up",
        ),
        pytest.param({"demand": [90_000], "capacity": [2]}, [1], id="no-budget"),
        pytest.param({"demand": [90_000], "capacity": [1e9]}, [9], id="no-limit"),
        pytest.param(
            {"demand": [30_000, 30_000], "priority": np.array([1, 5]), "capacity": [8], "lowest": 1},
            [3, 1],
            id="the-higher-class-first",
        ),
        pytest.param(
            {"demand": [[25_000, 35_000]], "service": [0, 0], "role": [0, 1], "capacity": [18]},
            [3, 4],
            id="prefill-and-decode",
        ),
        pytest.param(
            {"demand": [[30_000, 30_000]], "service": [0, 0], "role": [0, 1], "capacity": [99]},
            [3, 3],
            id="roles-alike",
        ),
        pytest.param(
            {"demand": [[20_000, 40_000]], "service": [0, 0], "role": [0, 1], "capacity": [99]},
            [2, 4],
            id="more-decode",
        ),
        pytest.param(
            {
                "demand": [[20_000, 20_000]],
                "service": [0, 0],
                "role": [0, 1],
                "capacity": [99],
                "current": [2, 1],
            },
            [2, 2],
            id="decode-alone",
        ),
        pytest.param(
            {
                "demand": [[40_000, 40_000]],
                "service": [0, 0],
                "role": [0, 1],
                "on": [0, 1],
                "capacity": [2, 99],
            },
            [1, 1],
            id="no-prefill-no-decode",
        ),
        pytest.param({"demand": [30_000], "capacity": [5], "current": 1}, [2], id="a-part-is-none"),
        pytest.param(
            {"demand": [90_000], "capacity": [99], "highest": 2}, [2], id="its-own-maximum"
        ),
        pytest.param(
            {"demand": [[6.0, 2.0]], "rate": 1, "gpus": 1, "service": [0, 0], "role": [0, 1],
             "capacity": [4]},
            [3, 1],
            id="roles-by-their-need",
        ),
        pytest.param(
            {"demand": [[9.0, 3.0]], "rate": 1, "gpus": 1, "service": [0, 0], "role": [0, 1],
             "capacity": [6], "lowest": 1},
            [4, 2],
            id="roles-by-their-need-above-floors",
        ),
    ],
)  # fmt: skip
def test_greedy_sharing(asked, theirs):
    assert shared(**asked).counts.tolist() == theirs


@pytest.mark.parametrize(
    ("asked", "theirs"),
    [
        # Fair shares, 4/3/2 and 4/3, are among the best, but others carry as many requests.
        pytest.param(
            {"demand": [60_000, 40_000, 20_000], "capacity": [18]}, [4, 3, 2], id="three-models"
        ),
        pytest.param(
            {"demand": [7, 7], "rate": 1, "gpus": 1, "capacity": [7], "current": 0},
            [4, 3],
            id="tie",
        ),
        # Quotas are given in the order of asking there: 3, what is left, nothing.
        pytest.param(
            {"demand": [3, 5, 1], "rate": 1, "gpus": 1, "capacity": [4], "current": 0},
            [3, 1, 0],
            id="quota-of-four",
        ),
    ],
)
def test_equals_lose_no_more_in_all_than_by_fair_shares(asked, theirs):
    found = shared(**asked)
    demand, rate = np.array(asked["demand"], dtype=float), asked.get("rate", 10_000.0)
    lost = demand.sum() - (np.array(theirs) * rate).sum()
    assert found.counts.sum() == sum(theirs)
    assert found.unmet_ratio @ demand == pytest.approx(lost)


@pytest.mark.parametrize(
    ("asked", "theirs", "ours"),
    [
        # Demand-weighted priorities give the lower class 2 of 8 while the higher is short.
        pytest.param([8, 8], [2, 6], [0, 8], id="both-want-all"),
        pytest.param([8, 4], [4, 4], [4, 4], id="one-wants-half"),
    ],
)
def test_rescale_gives_a_higher_class_all_that_it_needs(asked, theirs, ours):
    found = shared(
        demand=asked, rate=1, gpus=1, capacity=[8], current=[8, 0], priority=np.array([3, 1])
    )
    assert found.counts.tolist() == ours
    assert found.unmet_ratio[1] <= 1.0 - theirs[1] / asked[1]


def test_what_a_lower_class_holds_is_taken_back_within_one_decision():
    """Theirs frees in one cycle and gives in the next; ours asks for both, and HPA orders pods."""
    found = shared(
        demand=[8, 8], rate=1, gpus=2, capacity=[8], current=[4, 0], priority=np.array([2, 1])
    )
    assert found.counts.tolist() == [0, 4]


@pytest.mark.parametrize(
    ("quota", "theirs"),
    [(4, 2), (6, 3), (2, 1), (0, 0), (1e9, 6)],
    ids=["4", "6", "2", "0", "none"],
)
def test_a_namespaces_quota_binds_beside_the_clusters(quota, theirs):
    found = allocate(
        Problem(
            service=np.array([0]),
            role=np.array([0]),
            rate_rps=np.array([10_000.0]),
            cost_per_hour=np.array([5.0]),
            start_per_hour=np.zeros(1),
            stop_per_hour=np.zeros(1),
            current=np.array([1]),
            lowest=np.array([0]),
            highest=np.array([99]),
            demand_rps=np.array([[60_000.0]]),
            priority=np.array([1]),
            uses=Uses(
                resource=np.array([0, 1]),
                variant=np.array([0, 0]),
                units=np.array([2.0, 2.0]),
                capacity=np.array([100.0, quota]),
            ),
        )
    )
    assert found.counts.tolist() == [theirs]
