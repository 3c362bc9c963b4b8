from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.occupancy import build_replica, build_states, build_work, occupancy
from optimizer.queueing import birth_death, stationary
from optimizer.service import service_rate_rps
from tests.helpers.replicas import numerics, replicas, tables

FREE_PROMPTS = {"prefill_slope_s": 0.0, "kv_slope_s": 0.0}


def states_of(some):
    work = build_work(*some)
    return build_states(build_replica(work, some.workloads, some.limits), work)


def plain(states):
    """The same states without the extra variability of the queue."""
    even = np.ones(len(states.work))
    return replace(states, replica=replace(states.replica, variability=even))


class TestWithoutPrompts:
    @numerics
    @given(st.floats(0.05, 0.97), st.integers(2, 64))
    def test_it_is_the_closed_law_on_a_textbook_chain(self, load, batch):
        """Prompts that cost nothing hold up nothing: no clusters, one service law."""
        some = replicas(**FREE_PROMPTS, max_batch_size=batch, output_tokens_mean=400.0)
        states = plain(states_of(some))
        sizes = np.arange(1.0, batch + 1.0)[None, :]
        rates = service_rate_rps(states.work, sizes)
        arrival = load * rates[:, -1]
        textbook = stationary(
            birth_death(arrival, rates, last=np.array([batch]), queue_limit=np.array([640.0]))
        )
        found = occupancy(states, arrival)
        assert found.mean_in_service == pytest.approx(textbook.mean_in_service, rel=0.01)
        assert found.mean_wait_s == pytest.approx(textbook.mean_wait_s, rel=0.05, abs=1e-6)

    def test_the_full_rate_is_the_closed_law_at_the_full_batch(self):
        states = states_of(replicas(max_batch_size=48))
        expected = service_rate_rps(states.work, np.array([48.0]))
        assert states.replica.full_rate_rps == pytest.approx(expected)


class TestFlow:
    @numerics
    @given(tables(), st.floats(0.01, 0.9))
    def test_what_comes_is_served_while_there_is_room(self, some, load):
        states = states_of(some)
        arrival = load * states.replica.full_rate_rps
        found = occupancy(states, arrival)
        assert found.throughput_rps == pytest.approx(arrival, rel=1e-3)

    @numerics
    @given(tables(), st.floats(1.0, 20.0))
    def test_an_overload_is_served_at_the_full_rate_and_the_rest_is_blocked(self, some, load):
        states = states_of(some)
        full = states.replica.full_rate_rps
        found = occupancy(states, 1.2 * load * full)
        assert np.all(found.throughput_rps <= full * (1.0 + 1e-12))
        assert found.throughput_rps == pytest.approx(full, rel=0.2)
        assert np.all(found.blocking_ratio > 0.0)
        assert np.all(np.isfinite(found.mean_wait_s))

    @numerics
    @given(tables(), st.floats(0.01, 1.5), st.floats(1.01, 2.0))
    def test_more_arrivals_mean_more_in_service_and_waiting(self, some, load, factor):
        states = states_of(some)
        full = states.replica.full_rate_rps
        few, many = occupancy(states, load * full), occupancy(states, load * factor * full)
        for name in ("mean_in_service", "mean_queue_length", "throughput_rps"):
            least = getattr(few, name) * (1.0 - 1e-3) - 1e-9
            assert np.all(getattr(many, name) >= least), name


class TestMemory:
    def test_memory_bounds_what_is_in_service(self):
        roomy, tight = (
            states_of(replicas(max_batch_size=256, kv_capacity_tokens=tokens))
            for tokens in (np.inf, 60 * 767.0)
        )
        assert roomy.replica.full_batch[0] == 256
        assert tight.replica.full_batch[0] == pytest.approx(60.0, rel=0.02)
        assert tight.replica.full_rate_rps < roomy.replica.full_rate_rps

    def test_a_full_memory_preempts_and_computes_again(self):
        """Beside a wall at the same batch, the rate is less by the prompts repeated."""
        long = {"output_tokens_mean": 1024.0, "prompt_tokens_mean": 1024.0}
        walled = states_of(replicas(**long, max_batch_size=60))
        tight = states_of(replicas(**long, max_batch_size=256, kv_capacity_tokens=60 * 2047.0))
        work, batch = tight.work, tight.replica.full_batch[0]
        # D tokens of prompt are repeated per request, but for steps that free memory first.
        again = work.decode_steps * work.prefill_s / 1024.0 * np.exp(-batch / work.decode_steps)
        expected = 1.0 / (1.0 / walled.replica.full_rate_rps + again)
        assert tight.replica.full_rate_rps == pytest.approx(expected, rel=0.03)

    def test_a_memory_that_is_never_full_changes_nothing(self):
        arrival = np.array([4.0])
        vast = occupancy(states_of(replicas(kv_capacity_tokens=1e9)), arrival)
        none = occupancy(states_of(replicas(kv_capacity_tokens=np.inf)), arrival)
        assert vast.mean_in_service == pytest.approx(none.mean_in_service)
        assert vast.mean_wait_s == pytest.approx(none.mean_wait_s)

    def test_an_idle_replica_makes_nobody_wait(self):
        tight = states_of(replicas(kv_capacity_tokens=5 * 767.0))
        found = occupancy(tight, 1e-6 * tight.replica.full_rate_rps)
        assert found.waiting_ratio[0] < 1e-4

    def test_in_service_rises_with_the_state_and_never_exceeds_it(self):
        states = states_of(replicas(kv_capacity_tokens=np.array([3 * 767.0, 40 * 767.0])))
        sizes = np.arange(states.in_service.shape[1])
        assert np.all(np.diff(states.in_service, axis=1) >= -1e-9)
        assert np.all(states.in_service <= sizes + 1e-9)
        assert states.in_service[:, :2] == pytest.approx(np.array([[0.0, 1.0], [0.0, 1.0]]))


def test_rows_taken_from_a_block_give_the_same():
    some = replicas(
        max_batch_size=np.array([16, 64, 128]), kv_capacity_tokens=np.array([1e4, 1e5, 1e6])
    )
    states, arrival = states_of(some), np.array([2.0, 4.0, 6.0])
    whole, rows = occupancy(states, arrival), np.array([2, 0])
    part = occupancy(states.take(rows), arrival[rows])
    assert part.mean_in_service == pytest.approx(whole.mean_in_service[rows])
    assert part.mean_wait_s == pytest.approx(whole.mean_wait_s[rows])
