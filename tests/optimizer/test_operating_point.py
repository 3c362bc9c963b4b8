"""The law's means: by hand for lone requests, self-consistent for loads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.domain import EngineLimits, ServiceProfiles, Workloads
from optimizer.latency import predict
from optimizer.operating_point import at_concurrency, at_rate
from optimizer.step_law import (
    EVEN,
    PARAMETERS,
    POISSON,
    design,
    load_of,
    parameters_of,
    profiles_of,
)


def profile(base=6e-3, decode=20e-6, prefill=22e-6, kv=50e-9, constant=9e-3):
    values = (base, decode, prefill, kv, constant)
    return ServiceProfiles(**{n: np.array([v]) for n, v in zip(PARAMETERS, values, strict=True)})


def workload(prompt=1000.0, output=200.0, *, spread=0.3, hit=0.0):
    return Workloads(
        prompt_tokens_mean=np.array([prompt]),
        prompt_tokens_second_moment=np.array([prompt**2 * (1 + spread**2)]),
        output_tokens_mean=np.array([output]),
        output_tokens_second_moment=np.array([output**2 * (1 + spread**2)]),
        prefix_hit_ratio=np.array([hit]),
    )


def load(rate, **lengths):
    return load_of(workload(**lengths), np.array([float(rate)]))


def test_a_lone_request_pays_for_itself_alone():
    itl, ttft = at_rate(profile(), load(0.0, spread=0.0))
    context = 1000 + 200 / 2
    assert itl[0] == pytest.approx(6e-3 + 20e-6 + context * 50e-9)
    # No step is running, nobody else decodes: constant + base + own prompt + its KV.
    assert ttft[0] == pytest.approx(9e-3 + 6e-3 + 1000 * 22e-6 + 1000 * 50e-9)


def test_cached_prefixes_are_held_but_not_computed():
    itl, ttft = at_rate(profile(), load(0.0, hit=0.75))
    plain_itl, plain_ttft = at_rate(profile(), load(0.0))
    assert itl[0] == plain_itl[0]
    assert plain_ttft[0] - ttft[0] == pytest.approx(750 * 22e-6)


def test_long_outputs_are_found_decoding_more_often():
    assert load(1.0, spread=0.0).context_tokens[0] == 1100
    assert load(1.0, spread=1.0).context_tokens[0] == 1200


def test_step_time_by_hand_at_a_rate():
    rate, each = 5.0, 20e-6 + 1100 * 50e-9
    share = rate * (199 * each + 1000 * 22e-6)
    itl, ttft = at_rate(profile(), load(rate, spread=0.0))
    step = (6e-3 + each) / (1 - share)
    decoding, prompt = rate * 199 * step, 1000 * 22e-6
    assert itl[0] == pytest.approx(step)
    # What an arrival sees more of long steps than there are.
    long = 1 + rate * prompt**2 / (step * (1 - (rate * prompt) ** 2))
    expected = 9e-3 + 6e-3 + decoding * each + 1000 * 50e-9
    expected += prompt * (1 + rate * step * long) + (1 - np.exp(-decoding)) * long * step / 2
    assert ttft[0] == pytest.approx(expected)


def test_evenly_spaced_prompts_meet_only_when_a_step_outlasts_their_spacing():
    def companions(rate):
        rows = design(
            load(rate), step_s=np.array([0.01]), decoding_requests=np.array([1.0]), dispersion=EVEN
        )
        return rows.ttft[0, 2] / 1000.0 - 1.0

    assert companions(99.0) == 0.0
    assert companions(150.0) == pytest.approx(2 - 2 / 1.5)
    assert companions(200.0) == pytest.approx(1.0)
    assert companions(1e5) == pytest.approx(1e3 - 1.0)


rates = st.floats(0.01, 20.0)
prompts, outputs = st.floats(1.0, 4000.0), st.floats(2.0, 2000.0)
dispersions = st.sampled_from([EVEN, POISSON, 0.5])


def share_of(parameters, here):
    each = parameters.decode_slope_s + here.context_tokens * parameters.kv_slope_s
    work = here.decode_steps * each + here.prompt_tokens * parameters.prefill_slope_s
    return float((here.arrival_rate_rps * work)[0])


@given(rates, prompts, outputs, dispersions)
def test_latencies_at_a_rate_obey_the_law_at_their_own_step_time(rate, prompt, output, dispersion):
    here = load(rate, prompt=prompt, output=output)
    itl, ttft = at_rate(profile(), here, dispersion=dispersion)
    assert np.isfinite([itl, ttft]).all()
    if share_of(profile(), here) < 0.97:
        decoding = here.arrival_rate_rps * here.decode_steps * itl
        rows = design(here, step_s=itl, decoding_requests=decoding, dispersion=dispersion)
        again, _ = rows.latencies_s(parameters_of(profile()))
        np.testing.assert_allclose(again, itl, rtol=1e-9)


@given(rates, prompts, outputs, dispersions)
def test_a_rate_and_the_concurrency_it_makes_are_one_operating_point(
    rate, prompt, output, dispersion
):
    here = load(rate, prompt=prompt, output=output)
    if share_of(profile(), here) > 0.9:
        return
    itl, ttft = at_rate(profile(), here, dispersion=dispersion)
    requests = here.arrival_rate_rps * (ttft + here.decode_steps * itl)
    got = at_concurrency(profile(), here, requests, dispersion=dispersion)
    np.testing.assert_allclose(got[0], itl, rtol=1e-3)
    np.testing.assert_allclose(got[1], ttft, rtol=5e-3)


@given(rates, st.floats(1.001, 3.0), prompts, outputs)
def test_latencies_grow_with_the_rate_and_past_the_stable_one(rate, factor, prompt, output):
    lengths = {"prompt": prompt, "output": output}
    less = at_rate(profile(), load(rate, **lengths))
    more = at_rate(profile(), load(rate * factor, **lengths))
    assert more[0] > less[0]
    assert more[1] > less[1]


@given(rates, prompts, outputs, st.floats(1e-2, 1e2), dispersions)
def test_seconds_may_be_any_unit(rate, prompt, output, unit, dispersion):
    scaled = profiles_of(unit * parameters_of(profile()))
    lengths = {"prompt": prompt, "output": output}
    plain = at_rate(profile(), load(rate, **lengths), dispersion=dispersion)
    other = at_rate(scaled, load(rate / unit, **lengths), dispersion=dispersion)
    np.testing.assert_allclose(np.array(other), unit * np.array(plain), rtol=1e-9)


def test_shapes_broadcast_over_variants_and_points():
    here = load_of(
        Workloads(
            prompt_tokens_mean=np.full((3, 4), 500.0),
            prompt_tokens_second_moment=np.full((3, 4), 3e5),
            output_tokens_mean=np.full((3, 4), 100.0),
            output_tokens_second_moment=np.full((3, 4), 2e4),
            prefix_hit_ratio=np.zeros((3, 4)),
        ),
        np.linspace(0.1, 2.0, 12).reshape(3, 4),
    )
    each = profiles_of(np.array([1.0, 2.0, 3.0])[:, None, None] * parameters_of(profile()))
    itl, ttft = at_rate(each, here)
    assert itl.shape == ttft.shape == (3, 4)
    assert (np.diff(itl[:, 0]) > 0).all()


def limits(count):
    return EngineLimits(
        max_batch_size=np.full(count, 1024),
        max_queue_size=np.full(count, 1024),
        kv_capacity_tokens=np.full(count, np.inf),
        max_batched_tokens=np.full(count, 65_536.0),
    )


# prompt, output, share of the time that is spent on what arrives, largest ITL difference.
MEETS = [
    pytest.param(64, 256, 0.3, 0.01, id="short prompts, light"),
    pytest.param(64, 1024, 0.6, 0.01, id="short prompts, long outputs"),
    pytest.param(1024, 1024, 0.5, 0.01, id="even lengths"),
    pytest.param(1024, 256, 0.6, 0.03, id="longer prompts"),
    pytest.param(4096, 1024, 0.6, 0.04, id="long prompts"),
]


@pytest.mark.parametrize(("prompt", "output", "share", "difference"), MEETS)
def test_means_meet_those_of_the_whole_latency_model(prompt, output, share, difference):
    """Two ways to the same means: this law, and the chain with its distributions."""
    one = load(1.0, prompt=prompt, output=output)
    rate = share / share_of(profile(), one)
    itl, ttft = at_rate(profile(), load(rate, prompt=prompt, output=output))
    whole = predict(
        profile(),
        workload(prompt, output),
        limits(1),
        np.array([rate]),
        percentile_ratio=np.zeros(1),
    )
    np.testing.assert_allclose(itl, whole.itl_mean_s, rtol=difference)
    np.testing.assert_allclose(ttft, whole.ttft_mean_s, rtol=0.03)
