"""Figures that the peer publishes or that follow from its formulas (R1 to R10 of the notes).

Model A (its rates) and Model B (our `service` with equal slopes) on our chain and sizing.
"""

from typing import ClassVar

import numpy as np
import pytest

from optimizer.queueing import birth_death, probabilities, stationary
from optimizer.rootfind import RootStatus, find_roots
from optimizer.service import (
    decode_time_s,
    iteration_time_s,
    prefill_steps,
    prefill_time_s,
    service_time_s,
)
from optimizer.sizing import largest_rates

from .model_a import ModelA, analyze
from .model_b import ModelB, itl_at, prefill_at

RTOL = 1e-4  # the peer computes in float32


def model_a(*, alpha, beta, gamma, inputs, outputs, batch, queue) -> ModelA:
    one = np.ones(1)
    return ModelA(
        alpha_s=alpha * 1e-3 * one,
        beta_s=beta * 1e-3 * one,
        gamma_s=gamma * 1e-3 * one,
        input_tokens=inputs * one,
        output_tokens=outputs * one,
        max_batch_size=np.array([batch]),
        max_queue_size=queue * one,
    )


def size_of(analysis_at, largest, *, ttft_s=np.inf, itl_s=np.inf, tolerance=1e-10):
    """Size one case for mean TTFT and ITL; return both rates."""

    def excess(rate_rps, rows):
        # One case, asked for several rates at once.
        ttft, itl = np.stack([analysis_at(each) for each in rate_rps[:, None]], axis=1)[..., 0]
        return ttft - ttft_s, itl - itl_s

    ttft_rate, itl_rate = largest_rates(excess, largest, tolerance=tolerance)
    return ttft_rate[0], itl_rate[0]


README = {"alpha": 12.0, "beta": 0.05, "gamma": 0.0005, "inputs": 128, "outputs": 512}


class TestModelA:
    def test_r1_solve(self):
        model = model_a(**README, batch=48, queue=128)
        found = analyze(model, np.array([3.0]))
        assert found.stationary.throughput_rps[0] == pytest.approx(3.0, rel=RTOL)
        assert found.response_s[0] == pytest.approx(10.568447, rel=RTOL)
        assert found.wait_s[0] == pytest.approx(0.028275, rel=1e-3)
        assert found.stationary.mean_in_service[0] == pytest.approx(31.6205, rel=RTOL)
        assert found.prefill_s[0] == pytest.approx(0.026508, rel=RTOL)
        assert found.itl_s[0] == pytest.approx(0.0205345, rel=RTOL)
        assert found.ttft_s[0] == pytest.approx(0.075317, rel=RTOL)
        assert model.largest_rps[0] == pytest.approx(3.82082, rel=RTOL)

    def test_r2_size(self):
        model = model_a(**README, batch=48, queue=128)

        def at(rate):
            found = analyze(model, rate)
            return found.ttft_s, found.itl_s

        ttft_rate, itl_rate = size_of(at, model.largest_rps, ttft_s=0.060, itl_s=0.020)
        assert ttft_rate == pytest.approx(2.91059, rel=RTOL)
        assert itl_rate == pytest.approx(2.87411, rel=RTOL)
        found = analyze(model, np.array([min(ttft_rate, itl_rate)]))
        assert found.response_s[0] == pytest.approx(10.27606, rel=RTOL)
        assert found.wait_s[0] == pytest.approx(0.010094, rel=1e-3)
        assert found.stationary.mean_in_service[0] == pytest.approx(29.5056, rel=RTOL)
        assert found.ttft_s[0] == pytest.approx(0.056063, rel=RTOL)
        assert found.itl_s[0] == pytest.approx(0.020, rel=RTOL)

    def test_r3_solve(self):
        model = model_a(
            alpha=8.0, beta=0.1, gamma=0.0, inputs=256, outputs=512, batch=24, queue=1000
        )
        found = analyze(model, np.array([2.4]))
        assert found.response_s[0] == pytest.approx(5.223376, rel=RTOL)
        assert found.wait_s[0] == pytest.approx(0.0043276, rel=1e-3)
        assert found.stationary.mean_in_service[0] == pytest.approx(12.5257, rel=RTOL)
        assert found.prefill_s[0] == pytest.approx(0.035475, rel=RTOL)
        assert found.itl_s[0] == pytest.approx(0.0101242, rel=RTOL)
        assert found.ttft_s[0] == pytest.approx(0.049927, rel=RTOL)
        assert model.largest_rps[0] == pytest.approx(3.9801, rel=RTOL)

    @pytest.mark.parametrize(
        ("inputs", "n", "prefill_ms"),
        [(0, 1.0, 0.0), (1000, 1.0, 32.0), (2000, 8.0, 208.0), (500, 2.5, 29.25)],
    )
    def test_r8_prefill(self, inputs, n, prefill_ms):
        # The published test takes outputs of no tokens, which no request has.
        model = model_a(
            alpha=10.0, beta=0.01, gamma=0.001, inputs=inputs, outputs=0, batch=8, queue=0
        )
        assert model.prefill_s(n)[0] * 1e3 == pytest.approx(prefill_ms)

    @pytest.mark.parametrize(
        ("n", "decode_ms"), [(1.0, 1.23), (4.0, 1.575), (8.0, 2.035), (2.5, 1.4025)]
    )
    def test_r8_decode(self, n, decode_ms):
        model = model_a(alpha=1.0, beta=0.1, gamma=0.01, inputs=1, outputs=1, batch=8, queue=0)
        assert model.decode_s(n)[0] * 1e3 == pytest.approx(decode_ms)

    CONFIG: ClassVar = {"alpha": 1.0, "beta": 0.01, "gamma": 0.001, "inputs": 100, "outputs": 10}

    def test_r8_rates(self):
        model = model_a(**self.CONFIG, batch=8, queue=16)
        rates = [model.service_rate_rps(n)[0] for n in range(1, 9)]
        published = [64.4953, 112.6126, 149.8876, 179.6138, 203.8736, 224.0478, 241.0883, 255.6727]
        assert rates == pytest.approx(published, rel=1e-6)
        assert model.smallest_rps[0] == pytest.approx(0.06450, rel=RTOL)
        assert model.largest_rps[0] == pytest.approx(255.4171, rel=RTOL)

    @pytest.mark.parametrize(
        ("share", "figures_ms"),
        [
            (0.5, (127.7085, 21.8914, 0.19383, 2.77097, 1.90295, 4.76484)),
            (0.9, (226.9508, 43.2339, 14.2050, 6.58814, 2.55784, 20.2134)),
        ],
        ids=["half", "nine-tenths"],
    )
    def test_r8_analysis(self, share, figures_ms):
        model = model_a(**self.CONFIG, batch=8, queue=16)
        found = analyze(model, share * model.largest_rps)
        ours = (
            found.stationary.throughput_rps[0],
            found.response_s[0] * 1e3,
            found.wait_s[0] * 1e3,
            found.stationary.mean_in_service[0],
            found.itl_s[0] * 1e3,
            found.ttft_s[0] * 1e3,
        )
        assert ours == pytest.approx(figures_ms, rel=RTOL)

    @pytest.mark.parametrize(
        ("ttft_ms", "itl_ms", "rate"),
        [
            (np.inf, 2.5, 219.8988),
            (6.0, np.inf, 160.3906),
            (5.0, 2.2, 136.7781),
            (np.inf, 2.2, 174.5572),
            (3.0, np.inf, 0.0),
            (50.0, 5.0, 255.4171),
        ],
        ids=["itl", "ttft", "both", "itl-alone", "infeasible", "loose"],
    )
    def test_r8_sizes(self, ttft_ms, itl_ms, rate):
        model = model_a(**self.CONFIG, batch=8, queue=16)

        def at(rate_rps):
            found = analyze(model, rate_rps)
            return found.ttft_s, found.itl_s

        rates = size_of(at, model.largest_rps, ttft_s=ttft_ms * 1e-3, itl_s=itl_ms * 1e-3)
        assert min(rates) == pytest.approx(rate, rel=RTOL)


class TestModelB:
    def test_r4_solve_and_size(self):
        model = ModelB(
            alpha=12.0, beta=0.05, gamma=0.0005, input_tokens=128, output_tokens=512,
            batch=np.array([48]), queue=128,
        )  # fmt: skip
        found = model.analyze(np.array([3.0]))
        assert found["response_s"][0] == pytest.approx(10.34837, rel=RTOL)
        assert found["wait_s"][0] == pytest.approx(0.021405, rel=1e-3)
        assert found["chain"].mean_in_service[0] == pytest.approx(30.981, rel=RTOL)
        assert found["prefill_s"][0] == pytest.approx(0.0260905, rel=RTOL)
        assert found["itl_s"][0] == pytest.approx(0.0201189, rel=RTOL)
        assert found["ttft_s"][0] == pytest.approx(0.067615, rel=RTOL)
        assert model.largest_rps[0] == pytest.approx(3.86093, rel=RTOL)

        def at(rate):
            found = model.analyze(rate)
            return found["ttft_s"], found["itl_s"]

        ttft_rate, itl_rate = size_of(at, model.largest_rps, ttft_s=0.060, itl_s=0.020)
        assert ttft_rate == pytest.approx(2.94946, rel=RTOL)
        assert itl_rate == pytest.approx(2.97198, rel=RTOL)

    # B, alpha, beta, gamma, I, O -> c, T(B), prefill, itl, service time [ms]
    PRIMITIVES = (
        (1, 8, 0.033, 0.000333, 256, 1024, 1, 8.296954, 16.533249, 8.288911, 8504.378),
        (40, 8, 0.033, 0.000333, 256, 1024, 1, 19.878149, 28.114445, 19.870108, 20375.104),
        (80, 8, 0.033, 0.000333, 256, 1024, 1, 31.756298, 39.99259, 31.748257, 32550.205),
        (128, 16, 0.067, 0.000667, 256, 1024, 1, 92.278305, 109.005135, 92.26197, 94585.266),
        (200, 4, 0.017, 0.000167, 64, 128, 1, 13.335666, 14.387675, 13.327447, 1720.3009),
        (50, 8, 0.033, 0.000333, 1024, 256, 1, 35.3987, 68.98372, 35.26751, 9097.466),
        (128, 8, 0.033, 0.000333, 4096, 64, 7, 423.95038, 3085.5293, 422.10855, 30100.477),
        (200, 8, 0.033, 0.000333, 4096, 64, 39, 498.38052, 19503.664, 497.3364, 51333.195),
    )

    def test_r6_primitives(self):
        batch, alpha, beta, gamma, inputs, outputs, chunks, *times = np.array(self.PRIMITIVES).T
        model = ModelB(
            alpha=alpha, beta=beta, gamma=gamma, input_tokens=inputs, output_tokens=outputs,
            batch=batch, queue=0,
        )  # fmt: skip
        assert prefill_steps(model.workloads, model.limits, batch).tolist() == chunks.tolist()
        work = model.work(batch)
        functions = (iteration_time_s, prefill_time_s, decode_time_s, service_time_s)
        for function, published in zip(functions, times, strict=True):
            assert function(work, batch) * 1e3 == pytest.approx(published, rel=1e-6)

    # I, O, ITL, TTFT, Q, alpha, beta, gamma -> M, calls, requests/s, M_ITL, M_TPF
    SEARCHES: ClassVar = {
        "readme": (128, 512, 20, 60, 128, 12, 0.05, 0.0005, 49, 8, 2.97158, 31, 164),
        "baseline": (256, 1024, 20, 60, 128, 8, 0.033, 0.000333, 67, 8, 1.90376, 40, 147),
        "itl-only": (256, 4096, 15, 400, 128, 8, 0.033, 0.000333, 19, 8, 0.12585, 8, 256),
        "ttft-only": (1024, 256, 60, 80, 128, 8, 0.033, 0.000333, 72, 8, 4.52066, 95, 70),
        "unbounded": (64, 128, 200, 2000, 4, 4, 0.017, 0.000167, 256, 2, 121.4636, 256, 256),
        "alpha-low": (256, 1024, 20, 60, 128, 4, 0.017, 0.000167, 161, 8, 5.12145, 107, 256),
        "alpha-high": (256, 1024, 20, 60, 128, 16, 0.067, 0.000667, 16, 8, 0.27933, 6, 45),
        "bench-000": (256, 256, 20, 200, 32, 8, 0.066667, 0.00066667, 42, 8, 5.84761, 31, 256),
        "bench-003": (256, 256, 15, 60, 128, 8, 0.066667, 0.00033333, 45, 8, 6.74064, 27, 134),
        "bench-005": (4096, 64, 20, 30, 4, 8, 0.066667, 0.0002, 1, 0, 0.0, 3, 1),
        "bench-006": (64, 256, 20, 120, 128, 16, 0.133333, 0.00066667, 20, 8, 2.48149, 13, 256),
        "bench-011": (4096, 256, 30, 400, 32, 4, 0.01, 0.00016667, 47, 8, 3.74205, 29, 241),
        "bench-020": (4096, 64, 60, 400, 32, 8, 0.033333, 0.0002, 31, 8, 4.24318, 18, 64),
        "bench-023": (256, 4096, 40, 60, 128, 16, 0.066667, 0.00133333, 14, 7, 0.01677, 7, 9),
        "bench-027": (64, 64, 30, 120, 128, 16, 0.04, 0.0004, 132, 8, 60.50985, 119, 256),
        "bench-028": (4096, 4096, 60, 400, 32, 16, 0.133333, 0.00133333, 1, 0, 0.0, 5, 1),
    }

    @pytest.mark.parametrize("name", SEARCHES)
    def test_r5_and_r7_searches_for_the_best_batch_limit(self, name):
        """Our sizing at every batch limit, walked through by the peer's bisection."""
        (inputs, outputs, itl_ms, ttft_ms, queue, alpha, beta, gamma,
         best, calls, rate, itl_batch, prefill_batch) = self.SEARCHES[name]  # fmt: skip
        largest = 256
        model = ModelB(
            alpha=float(alpha), beta=beta, gamma=gamma, input_tokens=float(inputs),
            output_tokens=float(outputs), batch=np.arange(1, largest + 1), queue=queue,
        )  # fmt: skip
        itl_s, ttft_s = np.full(largest, itl_ms * 1e-3), np.full(largest, ttft_ms * 1e-3)

        def excess(rate_rps, rows):
            found = model.analyze(rate_rps, rows)
            return np.log(found["ttft_s"] / ttft_s[rows]), np.log(found["itl_s"] / itl_s[rows])

        rates = np.minimum(*largest_rates(excess, model.largest_rps, tolerance=1e-7))
        served = np.where(
            rates > 0.0,
            model.analyze(np.maximum(rates, 1e-9))["chain"].throughput_rps,
            0.0,
        )
        m_itl = model.largest_batch_within(itl_at, itl_s)[-1]
        m_tpf = model.largest_batch_within(prefill_at, ttft_s)[-1]
        assert (m_itl, m_tpf) == (itl_batch, prefill_batch)
        assert peer_search(served, m_itl=m_itl, m_tpf=m_tpf) == (best, calls)
        assert served[best - 1] == pytest.approx(rate, rel=RTOL, abs=1e-5)


def peer_search(rate_at, *, m_itl, m_tpf, slack=0.02, probes=6):
    """Return the least batch limit near the peak rate and the sizings it took to find it."""
    most = len(rate_at)
    if rate_at[most - 1] == 0.0:
        return 1, 0
    threshold = (1.0 - slack / 2.0) * rate_at[most - 1]
    low = max(1, min(m_itl, m_tpf))
    high = min(most, max(3 * max(m_itl, m_tpf), low + 1))
    calls = 2  # the peak, and a confirmation
    while low < high and calls < probes + 2:
        middle = (low + high) // 2
        calls += 1
        enough = rate_at[middle - 1] >= threshold
        low, high = (low, middle) if enough else (middle + 1, high)
    return int(high), calls


def constant_rate(rate, states):
    """An M/M/1/K: one state with a rate of its own, the others in the tail."""
    return birth_death(
        np.array([rate[0]]),
        np.array([[rate[1]]]),
        last=np.array([1]),
        queue_limit=np.array([states - 1.0]),
    )


class TestQueues:
    @pytest.mark.parametrize(
        ("arrival", "p", "mean", "throughput", "response"),
        [
            (0.5, [0.752941, 0.188235, 0.047059, 0.011765], 0.317647, 0.494118, 0.642857),
            (1.5, [0.365714, 0.274286, 0.205714, 0.154286], 1.148571, 1.268571, 0.905405),
            (2.0, [0.25, 0.25, 0.25, 0.25], 1.5, 1.5, 1.0),
        ],
        ids=["light", "heavy", "critical"],
    )
    def test_r9_mm1k_of_three(self, arrival, p, mean, throughput, response):
        chain = constant_rate((arrival, 2.0), 3)
        head, tail = probabilities(chain)
        found = stationary(chain)
        in_system = found.mean_in_service + found.mean_queue_length
        assert [*head[0], tail[0]] == pytest.approx([*p[:2], sum(p[2:])], abs=1e-6)
        assert found.blocking_ratio[0] == pytest.approx(p[3], abs=1e-6)
        assert in_system[0] == pytest.approx(mean, abs=1e-6)
        assert found.throughput_rps[0] == pytest.approx(throughput, abs=1e-6)
        assert in_system[0] / found.throughput_rps[0] == pytest.approx(response, abs=1e-6)

    @pytest.mark.parametrize(
        ("arrival", "service", "states", "mean", "throughput"),
        [
            (1.5, 3.0, 5, 0.904762, 1.476190),
            (0.5, 2.0, 10, 0.333331, 0.5),
            (1.5, 3.0, 10, 0.994626, 1.499267),
            (2.8, 4.0, 10, 2.111440, 2.775793),
        ],
    )
    def test_r9_mm1k(self, arrival, service, states, mean, throughput):
        found = stationary(constant_rate((arrival, service), states))
        assert (found.mean_in_service + found.mean_queue_length)[0] == pytest.approx(mean, abs=1e-6)
        assert found.throughput_rps[0] == pytest.approx(throughput, rel=1e-5)

    @pytest.mark.parametrize(
        ("rates", "states", "arrival", "figures"),
        [
            ([1, 2, 3], 5, 0.5, {"idle": 0.606103, "L": 0.502631, "X": 0.499825}),
            ([1, 2, 3], 5, 1.5,
             {"idle": 0.216949, "L": 1.576271, "Ls": 1.454237, "X": 1.454237, "W": 0.083916}),
            ([1, 2, 3], 5, 2.8, {"idle": 0.055616, "L": 2.848112, "X": 2.303691, "W": 0.236325}),
            ([2, 4, 6], 4, 1.0, {"idle": 1.0 - 0.393684}),
            ([1, 2], 5, 0.5, {"L": 0.531067, "X": 0.499414}),
        ],
        ids=["light", "middle", "heavy", "doubled", "extended"],
    )  # fmt: skip
    def test_r9_state_dependent_rates(self, rates, states, arrival, figures):
        chain = birth_death(
            np.array([arrival]),
            np.array([rates], dtype=float),
            last=np.array([len(rates)]),
            queue_limit=np.array([float(states - len(rates))]),
        )
        found = stationary(chain)
        ours = {
            "idle": found.idle_ratio[0],
            "L": (found.mean_in_service + found.mean_queue_length)[0],
            "Ls": found.mean_in_service[0],
            "X": found.throughput_rps[0],
            "W": found.mean_wait_s[0],
        }
        assert {name: ours[name] for name in figures} == pytest.approx(figures, abs=2e-6)


class TestRoots:
    @pytest.mark.parametrize(
        ("function", "low", "high", "root"),
        [
            (lambda x: x * x - 4.0, 0.0, 10.0, 2.0),
            (lambda x: 2.0 * x - 6.0, 1.0, 5.0, 3.0),
            (lambda x: 2.0 * x + 3.0 - 9.0, 0.0, 10.0, 3.0),
            # The published one falls: -x = -3. Ours rise; a falling one is turned over.
            (lambda x: -(-x + 3.0), 0.0, 10.0, 3.0),
        ],
        ids=["square", "double", "line", "falling"],
    )
    def test_r10_inside(self, function, low, high, root):
        found = self.solve(function, low, high)
        assert found.status[0] == RootStatus.CONVERGED
        assert found.x[0] == pytest.approx(root, rel=1e-9)

    def test_r10_below_and_above_the_range(self):
        below = self.solve(lambda x: x + 1.0, 0.0, 1.0)
        above = self.solve(lambda x: x - 5.0, 0.0, 1.0)
        assert (below.x[0], below.status[0]) == (0.0, RootStatus.BELOW)
        assert (above.x[0], above.status[0]) == (1.0, RootStatus.ABOVE)

    @staticmethod
    def solve(function, low, high):
        low, high = np.array([low]), np.array([high])
        return find_roots(
            lambda x, rows: function(x),
            low=low,
            high=high,
            low_value=function(low),
            high_value=function(high),
            x_tolerance=1e-12,
        )
