from dataclasses import replace
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.queueing import birth_death, probabilities, stationary
from tests.helpers.replicas import numerics

# Service rates that rise with the batch.
rates = st.lists(st.floats(0.05, 5.0), min_size=1, max_size=12).map(np.cumsum)
loads = st.floats(0.01, 3.0)


def chain_of(arrival, service, queue, *, variability=1.0):
    service = np.atleast_2d(service).astype(float)
    count = len(service)
    chain = birth_death(
        np.broadcast_to(np.float64(arrival), (count,)).copy(),
        service,
        last=np.full(count, service.shape[1]),
        queue_limit=np.full(count, float(queue)),
    )
    return replace(chain, variability=np.full(count, variability))


def state_by_state(arrival, service, queue):
    """The same chain as a loop over all its states: p(n), and averages."""
    service = np.asarray(service, dtype=float)
    rate = np.concatenate([service, np.full(int(queue), service[-1])])
    p = np.concatenate([[1.0], np.cumprod(arrival / rate)])
    p /= p.sum()
    n, slots = np.arange(len(p)), len(service)
    served = np.minimum(n, slots)
    throughput = arrival * (1.0 - p[-1])
    return p, {
        "throughput_rps": throughput,
        "blocking_ratio": p[-1],
        "idle_ratio": p[0],
        "mean_in_service": (p * served).sum(),
        "in_service_variance": (p * served**2).sum() - (p * served).sum() ** 2,
        "mean_queue_length": (p * (n - served)).sum(),
        "waiting_ratio": p[slots:-1].sum() / (1.0 - p[-1]),
        "mean_wait_s": (p * (n - served)).sum() / throughput,
    }


class TestAgainstAllStates:
    @numerics
    @given(rates, loads, st.integers(0, 200))
    def test_averages_agree(self, service, load, queue):
        arrival = load * service[-1]
        expected = state_by_state(arrival, service, queue)[1]
        found = stationary(chain_of(arrival, service, queue))
        for name, value in expected.items():
            assert getattr(found, name)[0] == pytest.approx(value, rel=1e-6, abs=1e-9), name

    @numerics
    @given(rates, loads, st.integers(0, 200))
    def test_probabilities_agree_and_sum_to_one(self, service, load, queue):
        arrival = load * service[-1]
        expected = state_by_state(arrival, service, queue)[0]
        head, tail = probabilities(chain_of(arrival, service, queue))
        assert head[0] == pytest.approx(expected[: len(service) + 1], abs=1e-12)
        assert head[0].sum() + tail[0] == pytest.approx(1.0)

    @pytest.mark.parametrize("load", [1.0 - 1e-9, 1.0, 1.0 + 1e-9])
    def test_critical_load_has_no_seam(self, load):
        found = stationary(chain_of(4.0 * load, [1.0, 2.0, 4.0], 500))
        expected = state_by_state(4.0 * load, [1.0, 2.0, 4.0], 500)[1]
        for name, value in expected.items():
            assert getattr(found, name)[0] == pytest.approx(value, rel=1e-5), name

    def test_rows_of_different_length_stand_side_by_side(self):
        service = np.array([[2.0, 3.0, 3.5], [1.0, 9.0, 9.0]])
        chain = birth_death(
            np.array([2.5, 0.6]), service, last=np.array([3, 1]), queue_limit=np.array([7.0, 4.0])
        )
        found = stationary(chain)
        for row, slots, arrival, queue in ((0, 3, 2.5, 7), (1, 1, 0.6, 4)):
            expected = state_by_state(arrival, service[row, :slots], queue)[1]
            for name, value in expected.items():
                assert getattr(found, name)[row] == pytest.approx(value, rel=1e-9), name


class TestClosedForms:
    @numerics
    @given(st.floats(0.01, 0.99))
    def test_mm1(self, load):
        found = stationary(chain_of(load * 5.0, [5.0], 1e7))
        assert found.idle_ratio[0] == pytest.approx(1.0 - load)
        assert found.mean_wait_s[0] == pytest.approx(load / (5.0 - 5.0 * load))
        assert found.mean_queue_length[0] == pytest.approx(load**2 / (1.0 - load))

    @numerics
    @given(st.integers(2, 60), st.floats(0.05, 0.98))
    def test_mmc(self, servers, load):
        """Erlang's C formula."""
        offered = load * servers
        found = stationary(chain_of(offered, np.arange(1.0, servers + 1.0), 1e7))
        terms = [offered**k / factorial(k) for k in range(servers)]
        last = offered**servers / factorial(servers) / (1.0 - load)
        waiting = last / (sum(terms) + last)
        assert found.waiting_ratio[0] == pytest.approx(waiting, rel=1e-9)
        assert found.mean_wait_s[0] == pytest.approx(waiting / (servers - offered), rel=1e-9)
        assert found.mean_in_service[0] == pytest.approx(offered, rel=1e-9)

    def test_m_m_infinity_is_poisson(self):
        found = stationary(chain_of(12.0, np.arange(1.0, 200.0), 0))
        assert found.mean_in_service[0] == pytest.approx(12.0)
        assert found.in_service_variance[0] == pytest.approx(12.0)
        assert found.in_service_third[0] == pytest.approx(12.0)

    def test_erlang_loss(self):
        """B(2 servers, 1 erlang) = (1/2) / (1 + 1 + 1/2)."""
        found = stationary(chain_of(1.0, [1.0, 2.0], 0))
        assert found.blocking_ratio[0] == pytest.approx(0.2)
        assert found.mean_queue_length[0] == 0.0


class TestProperties:
    @numerics
    @given(rates, loads, st.integers(0, 1000))
    def test_littles_law(self, service, load, queue):
        found = stationary(chain_of(load * service[-1], service, queue))
        wait = found.mean_wait_s * found.throughput_rps
        assert found.mean_queue_length == pytest.approx(wait, abs=1e-12)

    @numerics
    @given(rates, st.floats(0.01, 2.0), st.integers(1, 500), st.floats(1.001, 1.5))
    def test_more_arrivals_mean_more_of_everything(self, service, load, queue, factor):
        few, many = (
            stationary(chain_of(load * f * service[-1], service, queue)) for f in (1.0, factor)
        )
        for name in ("throughput_rps", "mean_in_service", "mean_queue_length", "blocking_ratio"):
            assert getattr(many, name)[0] >= getattr(few, name)[0] - 1e-9, name

    @numerics
    @given(rates, loads, st.integers(0, 100), st.floats(1e-3, 1e3))
    def test_the_unit_of_time_is_nobodys_business(self, service, load, queue, unit):
        arrival = load * service[-1]
        here = stationary(chain_of(arrival, service, queue))
        there = stationary(chain_of(arrival * unit, service * unit, queue))
        assert there.mean_queue_length == pytest.approx(here.mean_queue_length)
        assert there.throughput_rps == pytest.approx(here.throughput_rps * unit)
        assert there.mean_wait_s == pytest.approx(here.mean_wait_s / unit)

    @pytest.mark.parametrize("load", [1.5, 10.0, 1e6])
    def test_overload_is_finite_and_visible(self, load):
        found = stationary(chain_of(load * 4.0, [1.0, 2.0, 4.0], 10_000))
        assert found.throughput_rps[0] == pytest.approx(4.0)
        assert found.blocking_ratio[0] == pytest.approx(1.0 - 1.0 / load)
        assert found.mean_wait_s[0] == pytest.approx(10_000 / 4.0, rel=0.01)
        assert found.wait_slope[0] > 0.0

    @numerics
    @given(rates, st.floats(0.05, 0.97), st.floats(0.5, 4.0))
    def test_variability_stretches_waits_and_leaves_who_waits(self, service, load, factor):
        arrival = load * service[-1]
        plain = stationary(chain_of(arrival, service, 1e7))
        varied = stationary(chain_of(arrival, service, 1e7, variability=factor))
        ratio = load ** (1.0 / factor)
        assert varied.waiting_ratio == pytest.approx(plain.waiting_ratio)
        assert varied.throughput_rps == pytest.approx(plain.throughput_rps)
        assert varied.mean_wait_s == pytest.approx(
            plain.mean_wait_s * (1.0 - load) / (1.0 - ratio), rel=1e-6
        )


class TestBursts:
    @numerics
    @given(rates, st.floats(0.05, 0.95), st.floats(0.0, 0.95))
    def test_what_joins_from_below_waits_and_is_served(self, service, load, going_on):
        arrival = load * service[-1]
        chain = chain_of(arrival, service, 100_000)
        free = np.arange(len(service), -1.0, -1.0)
        bursts = replace(chain, joined=np.where(free > 0.0, going_on**free, 0.0)[None])
        alone, found = stationary(chain), stationary(bursts)
        assert found.throughput_rps[0] == pytest.approx(arrival, rel=1e-6)
        assert found.waiting_ratio[0] >= alone.waiting_ratio[0] - 1e-12
        assert found.mean_queue_length[0] == pytest.approx(found.mean_wait_s[0] * arrival)
        # Whoever waits has the same wait: bursts make more wait, not each longer.
        each = found.mean_wait_s / np.maximum(found.waiting_ratio, 1e-300)
        if alone.waiting_ratio[0] > 1e-9:
            assert each[0] == pytest.approx(alone.mean_wait_s[0] / alone.waiting_ratio[0], rel=1e-3)
