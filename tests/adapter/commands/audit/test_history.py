import numpy as np
import pytest

from adapter.commands.audit.history import Buckets, History, Span
from adapter.commands.audit.names import ReplicaName, VariantName

CHAT = VariantName("default", "chat", "m")
N = np.nan


def history(signals, replicas=("chat-0", "chat-1"), scrape_s=15.0):
    columns = {name: np.array(rows, dtype=np.float64) for name, rows in signals.items()}
    return History(
        span=Span(0.0, 60.0, next(iter(columns.values())).shape[1]),
        scrape_s=scrape_s,
        replicas=tuple(ReplicaName(CHAT, name) for name in replicas),
        signals=columns,
        buckets={},
        kv_capacity_tokens={},
    )


def test_who_comes_is_there_from_then_on_and_who_goes_until_then():
    found = history({"samples": [[4, 4, 1], [N, 2, 4]]})
    assert found.counts.tolist() == [[1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1]]
    assert found.replica_hours[0] == pytest.approx((9 + 6) * 15 / 3600)


def test_ranks_of_one_pod_are_one_replica():
    found = history({"samples": [[8, 8, 8]]}, replicas=("chat-0",))
    assert found.counts.tolist() == [[1] * 12]


def test_arrivals_are_what_was_finished_and_what_more_is_in_flight():
    found = history(
        {
            "samples": [[4, 4], [4, 4]],
            "rate:completions": [[2.0, 1.0], [1.0, N]],
            "delta:running_requests": [[60.0, -120.0], [0.0, N]],
            "delta:waiting_requests": [[0.0, 0.0], [30.0, N]],
            "rate:rejections": [[0.5, N], [N, N]],
        }
    )
    assert found.offered_rps[0] == pytest.approx([2 + 1 + 0.5 + 1 + 0.5, 0.0])


def test_no_replica_is_unknown_demand_and_not_none():
    found = history({"samples": [[4, N]], "rate:completions": [[2.0, N]]}, replicas=("chat-0",))
    assert np.isnan(found.offered_rps[0, 1])


@pytest.mark.parametrize(
    ("limit", "share"),
    [
        pytest.param(0.05, 0.25, id="within the first bucket"),
        pytest.param(0.1, 0.5, id="at a bound"),
        pytest.param(0.15, 0.625, id="between bounds"),
        pytest.param(0.3, 0.75, id="beyond the last: above the limit"),
    ],
)
def test_the_share_within_a_target_is_read_off_the_buckets(limit, share):
    found = Buckets(np.array([0.1, 0.2, np.inf]), np.array([[[4.0, 6.0, 8.0]]]))
    assert found.within(limit)[0, 0] == pytest.approx(share)


def test_no_request_is_no_share():
    found = Buckets(np.array([0.1, np.inf]), np.zeros((1, 1, 2)))
    assert np.isnan(found.within(0.1)[0, 0])
