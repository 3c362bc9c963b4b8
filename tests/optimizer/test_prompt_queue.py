import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.latency import predict
from optimizer.occupancy import build_work
from optimizer.prompt_queue import burst_factors
from simulator.engine import EngineSpec, simulate
from tests.helpers.replicas import numerics, replicas


def factors(arrivals, share, *, budget_s=np.inf, **columns):
    work = build_work(*replicas(**columns))
    return burst_factors(
        work,
        rate_rps=share / work.prefill_s,
        share=np.array([share]),
        step_floor_s=np.array([0.01]),
        budget_s=np.array([budget_s]),
        arrivals=np.array([arrivals]),
    )


@numerics
@given(st.floats(0.01, 0.95), st.floats(1.0, 4.0))
def test_poisson_arrivals_leave_everything(share, shape):
    found = factors(1.0, share, prompt_shape=shape)
    for column in (found.mean, found.variance, found.third):
        assert column == pytest.approx(1.0)


@numerics
@given(st.floats(0.01, 0.95), st.floats(1.01, 30.0))
def test_bursts_lengthen_and_spread(share, arrivals):
    found = factors(arrivals, share)
    assert found.mean[0] >= 1.0
    assert found.variance[0] >= 1.0
    assert np.isfinite(found.third[0])


def test_more_clustered_arrivals_wait_longer():
    means = [factors(i, 0.4).mean[0] for i in (1.0, 2.0, 4.0, 8.0, 16.0)]
    assert np.all(np.diff(means) > 0.0)


@pytest.mark.parametrize(("cv2", "load"), [(16.0, 0.4), (4.0, 0.8)])
def test_p95_is_what_an_engine_gives_under_bursts(cv2, load):
    """Few slots, long outputs: at 0.8 the wait for a slot decides, at 0.4 the prompts."""
    random = np.random.default_rng(7)
    count, sigma2 = 120_000, np.log(2.0)
    prompts, outputs = (
        np.maximum(np.rint(m * random.lognormal(-sigma2 / 2.0, np.sqrt(sigma2), count)), 1.0)
        for m in (256.0, 256.0)
    )
    law = {"iteration_base_s": 0.022, "decode_slope_s": 4.5e-5, "prefill_slope_s": 7e-5}
    some = replicas(
        **law,
        kv_slope_s=0.0,
        prompt_tokens_mean=prompts.mean(),
        output_tokens_mean=outputs.mean(),
        prompt_shape=(prompts**2).mean() / prompts.mean() ** 2,
        output_shape=(outputs**2).mean() / outputs.mean() ** 2,
        max_batch_size=64,
        max_batched_tokens=8192.0,
    )
    one = np.ones(1)
    rate = load / predict(*some, one, percentile_ratio=0.95 * one).utilization
    arrivals = np.cumsum(random.gamma(1.0 / cv2, cv2 / rate[0], count))
    spec = EngineSpec(**law, max_num_seqs=64, max_num_batched_tokens=8192)
    seen = simulate(spec, arrivals, prompts.astype(int), outputs.astype(int)).ttft_s[count // 20 :]
    found = predict(*some, rate, percentile_ratio=0.95 * one, dispersion=cv2 * one)
    assert found.ttft_s[0] == pytest.approx(np.quantile(seen, 0.95), rel=0.2)
