"""160 cases of a peer's queueing model, its rates fed to our chain and our sizing.

The file was made by running the peer's Go code (float32); see ../shared/README.md. Ten
cases, all of batch 1, hold an answer of the peer that is wrong: there ours must be right
instead, and the test says what right is.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from optimizer.sizing import largest_rates

from .model_a import ModelA, analyze

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "reference" / "queue-vectors.json"
pytestmark = pytest.mark.skipif(
    not VECTORS.is_file(), reason="the peer's vectors (../shared/reference) are absent"
)

RTOL = 1e-3
WAIT_ATOL_MS = 1e-3
# The peer checks its chain with the formula for a queue of requests at one rate and calls
# "batch 1, queue 0" (an Erlang loss system with one server) invalid.
REFUSED_BY_PEER = {"ref-026", "ref-074", "ref-112", "ref-126"}
# With batch 1 its ITL falls as the rate rises; it takes "above the target everywhere" for
# "above the range" and calls a target that is missed at every rate met at the largest.
MISSED_BUT_CALLED_MET = {"ref-040", "ref-096"}
# The same the other way round: a target that is met at every rate is "below the range" of a
# falling ITL, and the whole sizing fails.
MET_BUT_CALLED_MISSED = {"ref-055", "ref-066", "ref-086", "ref-119"}


def model_of(cases) -> ModelA:
    def column(name, scale=1.0):
        return np.array([case[name] for case in cases], dtype=float) * scale

    return ModelA(
        alpha_s=column("alpha_ms", 1e-3),
        beta_s=column("beta_ms", 1e-3),
        gamma_s=column("gamma_ms", 1e-3),
        input_tokens=column("avg_input_tokens"),
        output_tokens=column("avg_output_tokens"),
        max_batch_size=column("max_batch_size").astype(np.int64),
        max_queue_size=column("max_queue_size"),
    )


def sized(model: ModelA, ttft_s, itl_s) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest rates within mean TTFT and mean ITL; 0 is no target."""

    def excess(rate_rps, rows):
        found = analyze(model.take(rows), rate_rps)
        ttft, itl = found.ttft_s, found.itl_s
        return _log_ratio(ttft, ttft_s[rows]), _log_ratio(itl, itl_s[rows])

    return largest_rates(excess, model.largest_rps, tolerance=1e-9)


def _log_ratio(value, target):
    return np.where(target > 0.0, np.log(value / np.where(target > 0.0, target, 1.0)), -np.inf)


@pytest.fixture(scope="module")
def cases():
    return json.loads(VECTORS.read_text())


@pytest.fixture(scope="module")
def found(cases):
    """Our answers to all cases at once: analysis, sizes, and the analysis at the size."""
    model = model_of(cases)
    rate = np.array([case["rate_rps"] for case in cases])
    ttft = np.array([case["target_ttft_ms"] for case in cases]) * 1e-3
    itl = np.array([case["target_itl_ms"] for case in cases]) * 1e-3
    tps = np.array([case["target_tps"] for case in cases])
    ttft_rate, itl_rate = sized(model, ttft, itl)
    # A token target has no number of its own at the peer: it asks for a tenth of margin.
    stable = model.largest_rps * np.where(tps > 0.0, 0.9, 1.0)
    size = np.minimum(np.minimum(ttft_rate, itl_rate), stable)
    at_size = analyze(model, np.where(size > 0.0, size, model.smallest_rps))
    return model, analyze(model, rate), (ttft_rate, itl_rate, stable, size), at_size


def expect(analysis, row, model, peer):
    """Compare one row of ours with the peer's report."""
    ours = {
        "Throughput": analysis.stationary.throughput_rps[row],
        "AvgRespTime": analysis.response_s[row] * 1e3,
        "AvgNumInServ": analysis.stationary.mean_in_service[row],
        "AvgPrefillTime": analysis.prefill_s[row] * 1e3,
        "AvgTokenTime": analysis.itl_s[row] * 1e3,
        "AvgTTFT": analysis.ttft_s[row] * 1e3,
        "MaxRate": model.largest_rps[row],
        "Rho": analysis.stationary.mean_in_service[row] / model.max_batch_size[row],
    }
    assert ours == pytest.approx({name: peer[name] for name in ours}, rel=RTOL)
    assert analysis.wait_s[row] * 1e3 == pytest.approx(
        peer["AvgWaitTime"], rel=RTOL, abs=WAIT_ATOL_MS
    )


def test_there_are_160_cases(cases):
    assert len(cases) == 160
    refused = {case["id"] for case in cases if case["analysis"] is None}
    assert refused == REFUSED_BY_PEER


@pytest.mark.parametrize("row", range(160), ids=lambda row: f"ref-{row:03d}")
class TestEveryCase:
    def test_the_analysis_at_the_rate_agrees(self, cases, found, row):
        model, analysis, _, _ = found
        case = cases[row]
        if case["id"] in REFUSED_BY_PEER:
            self._is_a_loss_system(model, analysis, case["rate_rps"], row)
            return
        expect(analysis, row, model, case["analysis"])

    def test_the_sizes_agree(self, cases, found, row):
        model, _, (ttft_rate, itl_rate, stable, size), at_size = found
        case = cases[row]
        if case["id"] in MISSED_BUT_CALLED_MET:
            assert case["size_metrics"]["AvgTokenTime"] > case["target_itl_ms"]
            assert size[row] == itl_rate[row] == 0.0
        elif case["id"] in MET_BUT_CALLED_MISSED:
            assert case["analysis"]["AvgTokenTime"] < 0.8 * case["target_itl_ms"]
            assert itl_rate[row] == model.largest_rps[row]
            self._size_is_the_largest_within(model, case, size[row], row)
        elif case["id"] in REFUSED_BY_PEER:
            self._size_is_the_largest_within(model, case, size[row], row)
        elif case["size"] is None:
            assert "below the bounded region" in case["size_error"]
            assert size[row] == 0.0
        else:
            peer = case["size"]
            assert ttft_rate[row] == pytest.approx(peer["RateTargetTTFT"], rel=RTOL)
            assert itl_rate[row] == pytest.approx(peer["RateTargetITL"], rel=RTOL)
            assert stable[row] == pytest.approx(peer["RateTargetTPS"], rel=RTOL)
            expect(at_size, row, model, case["size_metrics"])

    @staticmethod
    def _is_a_loss_system(model, analysis, rate_rps, row):
        """One server, no queue: Erlang's formula, B = a / (1 + a)."""
        offered = rate_rps / model.service_rate_rps(np.ones(160))[row]
        assert analysis.stationary.blocking_ratio[row] == pytest.approx(offered / (1.0 + offered))
        assert analysis.stationary.mean_in_service[row] == pytest.approx(offered / (1.0 + offered))
        assert analysis.wait_s[row] == 0.0

    @staticmethod
    def _size_is_the_largest_within(model, case, size, row):
        """Meets both targets there, and either none is missed above or it is the limit."""
        one = model.take(np.array([row]))
        targets = (case["target_ttft_ms"] * 1e-3, case["target_itl_ms"] * 1e-3)

        def missed(rate):
            at = analyze(one, np.array([rate]))
            return any(
                0.0 < target < value[0]
                for value, target in zip((at.ttft_s, at.itl_s), targets, strict=True)
            )

        if size == 0.0:
            assert missed(one.smallest_rps[0])
        else:
            assert not missed(size)
            assert size == pytest.approx(one.largest_rps[0]) or missed(size * (1.0 + 1e-6))
