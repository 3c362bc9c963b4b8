"""What full engines serve bounds what a queue asks for."""

from types import SimpleNamespace

import numpy as np
import pytest

from optimizer.measured import served_bound_rps
from optimizer.saturation import headroom
from optimizer.tables import ReplicaTable
from tests.helpers.closed_loop import ClosedLoop

OUTPUT_TOKENS = 100.0
USABLE = 0.875


def bound(
    *, waiting, arrivals=6.0, ready=2, starting=0, prefilled=1.5, decoded=1.5, planned=1.0
) -> float:
    """Return what two full replicas that serve 1.5 requests/s each give reason for."""
    loop = ClosedLoop(models=1, start=ready)
    loop.now_s = 1000.0
    request = loop.request()
    request.workloads.output_tokens_mean[:] = OUTPUT_TOKENS
    request.variants.current_replicas[0] = ready + starting
    replicas = ReplicaTable(
        variant=np.zeros(ready, dtype=np.int64),
        running_requests=np.full(ready, 50.0),
        waiting_requests=np.full(ready, waiting / ready),
        kv_usage_ratio=np.full(ready, 0.5),
        kv_capacity_tokens=np.full(ready, 1e5),
        first_token_rate_rps=np.full(ready, prefilled),
        output_rate_tps=np.full(ready, decoded * OUTPUT_TOKENS),
    )
    stock = headroom(replicas, request.variants)
    variants = len(request.variants)
    ahead = SimpleNamespace(
        now_rps=np.array([arrivals]),
        offered_rps=np.array([arrivals]),
        cold_start_s=np.full(variants, 60.0),
        starts=SimpleNamespace(since_s=np.full(variants, 945.0)),
        horizon_s=np.array([60.0]),
    )
    late = np.zeros(variants)
    late[0] = waiting
    rate = np.full(variants, planned)
    return float(served_bound_rps(request, ahead, stock, rate_rps=rate, late_requests=late)[0])


@pytest.mark.parametrize(
    ("given", "replicas"),
    [
        pytest.param({"waiting": 0.0}, np.inf, id="nobody-is-full"),
        # 3 requests/s are left over for 60 s: 180 and those who wait, to be gone in 30 s.
        pytest.param({"waiting": 30.0}, (6.0 + 210.0 / 30.0) / 1.5, id="arrivals-and-backlog"),
        pytest.param(
            {"waiting": 30.0, "starting": 3}, 6.0 / 1.5, id="what-starts-serves-the-queue"
        ),
        pytest.param(
            {"waiting": 300.0, "starting": 3, "arrivals": 3.0},
            (3.0 + (300.0 - 0.4286 * 55.0) / 30.0) / 1.5,
            id="no-more-starting-than-arrivals-need",
        ),
        pytest.param({"waiting": 30.0, "prefilled": 0.2}, 13.0 / 1.5, id="decoding-in-turn"),
        pytest.param({"waiting": 30.0, "decoded": 0.2}, 13.0 / 1.5, id="prefilling-in-turn"),
        pytest.param({"waiting": 30.0, "prefilled": np.nan}, 13.0 / 1.5, id="one-of-them-known"),
        pytest.param(
            {"waiting": 30.0, "prefilled": np.nan, "decoded": np.nan}, np.inf, id="nothing-known"
        ),
        pytest.param({"waiting": 30.0, "arrivals": np.nan}, np.inf, id="arrivals-unknown"),
    ],
)
def test_need_that_full_engines_give_reason_for(given, replicas):
    assert bound(**given) == pytest.approx(replicas / USABLE, rel=1e-3)


def test_is_in_terms_of_the_rate_that_is_planned_with():
    """Right or wrong: half of the rate means half of the need, and so the same replicas."""
    assert bound(waiting=30.0, planned=0.5) == pytest.approx(0.5 * bound(waiting=30.0))


def test_more_that_waits_is_never_less_need():
    needs = [bound(waiting=waiting) for waiting in (12.0, 50.0, 200.0, 1000.0)]
    assert needs == sorted(needs)
