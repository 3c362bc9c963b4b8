"""Routing laws on replicas that come and go."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from simulator.router import EqualPerReplica, LeastLoaded, RoundRobin


@dataclass
class Stub:
    name: str
    in_flight: int = 0
    weight: float = 1.0


def test_round_robin_takes_turns_and_survives_changes():
    router = RoundRobin()
    a, b, c = (Stub(name) for name in "abc")
    assert [router.choose([a, b, c]) for _ in range(4)] == [0, 1, 2, 0]
    assert router.choose([b, c]) == 0  # the latest, a, is gone
    assert router.choose([a, b, c]) == 2  # after b comes c


def test_equal_per_replica_splits_evenly():
    router = EqualPerReplica(np.random.default_rng(1))
    chosen = Counter(router.choose([Stub("a"), Stub("b", 50), Stub("c")]) for _ in range(9000))
    assert all(count == pytest.approx(3000, rel=0.05) for count in chosen.values())


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        pytest.param([(3, 1.0), (1, 1.0), (2, 1.0)], 1, id="fewest"),
        pytest.param([(9, 4.0), (3, 1.0)], 0, id="by-weight"),
        pytest.param([(0, 1.0), (0, 4.0)], 1, id="idle-by-weight"),
    ],
)
def test_least_loaded(loads, expected):
    backends = [Stub(str(at), *load) for at, load in enumerate(loads)]
    assert LeastLoaded().choose(backends) == expected


def test_least_loaded_lets_equals_take_turns():
    router = LeastLoaded()
    backends = [Stub("a"), Stub("b"), Stub("c")]
    assert [router.choose(backends) for _ in range(4)] == [0, 1, 2, 0]
