"""Learning online: what is remembered, what is adopted, and a real engine's ramp."""

import gzip
import itertools
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from optimizer.domain import ServiceProfiles, Trust, Workloads
from optimizer.estimation import EstimatorSettings, EstimatorState, Observations, learned, update
from optimizer.operating_point import at_concurrency, at_rate
from optimizer.priors import prior_profiles
from optimizer.profile_fit import FitStatus
from optimizer.step_law import PARAMETERS, load_of, parameters_of, profiles_of

TRUTH = np.array([6.6e-3, 18e-6, 22e-6, 55e-9, 9e-3])
SEED = np.array([8e-3, 40e-6, 40e-6, 40e-9, 5e-3])
NOTHING = np.full(5, np.nan)
CAPTURE = Path(__file__).parents[3] / "shared" / "captures" / "vllm-ramp"


def profiles(rows):
    return profiles_of(np.atleast_2d(rows))


def workloads(prompt, output):
    prompt, output = np.atleast_1d(prompt).astype(float), np.atleast_1d(output).astype(float)
    return Workloads(
        prompt_tokens_mean=prompt,
        prompt_tokens_second_moment=1.1 * prompt**2,
        output_tokens_mean=output,
        output_tokens_second_moment=1.1 * output**2,
        prefix_hit_ratio=np.zeros_like(prompt),
    )


def window(rate, lengths, truth=TRUTH, *, seconds=10.0, waiting=0.0):
    """What engines of the law `truth` would report of a window at this rate."""
    rate = np.atleast_1d(rate).astype(float)
    load = load_of(lengths, rate)
    itl, ttft = at_rate(profiles(np.broadcast_to(truth, (len(rate), 5))), load)
    return Observations(
        requests=rate * seconds,
        arrival_rate_rps=rate,
        decoding_requests=rate * load.decode_steps * itl,
        waiting_requests=np.full_like(rate, waiting),
        itl_s=itl,
        ttft_s=ttft,
        prompt_tokens=np.full_like(rate, np.nan),
        context_tokens=np.full_like(rate, np.nan),
    )


def run(windows, *, seed=SEED, state=None, first_s=0.0, every_s=10.0, **options):
    """Feed windows (rate, prompt, output) of one variant in turn."""
    state = EstimatorState.empty(("v",)) if state is None else state
    for i, (rate, prompt, output) in enumerate(windows):
        lengths = workloads(prompt, output)
        state = update(
            state,
            names=("v",),
            observations=window(rate, lengths),
            workloads=lengths,
            seed=profiles(seed),
            now_s=first_s + every_s * i,
            **options,
        )
    return state


MANY_SHAPES = [
    (rate, prompt, output)
    for prompt, output, rates in [
        (64.0, 256.0, (5.0, 20.0)),
        (256.0, 1024.0, (1.0, 5.0)),
        (1024.0, 64.0, (4.0, 16.0)),
        (4096.0, 256.0, (0.5, 3.0)),
    ]
    for rate in rates
]


def test_varied_traffic_teaches_every_parameter():
    state = run(MANY_SHAPES * 2)
    got = learned(state, profiles(SEED))
    assert (got.status[0], got.trust[0]) == (FitStatus.FULL, Trust.LEARNED)
    np.testing.assert_allclose(parameters_of(got.profiles)[0], TRUTH, rtol=0.01)


def test_a_single_operating_point_teaches_nothing_but_a_guess():
    got = learned(run([(4.0, 512.0, 128.0)] * 30), profiles(SEED))
    assert got.trust[0] == Trust.PRIOR
    assert got.status[0] in {FitStatus.GUESS, FitStatus.SEED}


def test_nothing_known_and_nothing_seen_is_no_profile():
    state = EstimatorState.empty(("v",))
    got = learned(state, profiles(NOTHING))
    assert got.trust[0] == Trust.NONE
    assert np.isnan(parameters_of(got.profiles)).all()
    prior = learned(state, profiles(SEED))
    assert prior.trust[0] == Trust.PRIOR
    np.testing.assert_array_equal(parameters_of(prior.profiles)[0], SEED)


def test_nothing_known_is_enough_to_learn_from():
    got = learned(run(MANY_SHAPES, seed=NOTHING), profiles(NOTHING))
    assert got.trust[0] == Trust.LEARNED
    np.testing.assert_allclose(parameters_of(got.profiles)[0], TRUTH, rtol=0.02)


def test_what_was_learned_outlives_the_variety_that_taught_it():
    steady = [(4.0, 512.0, 128.0)] * 60
    state = run(MANY_SHAPES + steady)
    assert learned(state, profiles(SEED)).status[0] == FitStatus.FULL  # all points remembered
    crowded = EstimatorSettings(slots=2)
    state = run(
        MANY_SHAPES + steady, settings=crowded, state=EstimatorState.empty(("v",), settings=crowded)
    )
    got = learned(state, profiles(SEED))
    assert got.trust[0] in {Trust.LEARNED, Trust.PRIOR}
    # The full fit is kept as the seed of whatever follows.
    kept = run(MANY_SHAPES)
    held = replace(
        kept, points=kept.points[:, :1], requests=kept.requests[:, :1], seen_s=kept.seen_s[:, :1]
    )
    one_slot = EstimatorSettings(slots=1)
    after = learned(run(steady, state=held, first_s=1e3, settings=one_slot), profiles(SEED))
    assert after.status[0] == FitStatus.HELD
    np.testing.assert_allclose(parameters_of(after.profiles)[0], TRUTH, rtol=0.02)


UNUSABLE = [
    pytest.param({"requests": 2.0}, id="too few requests"),
    pytest.param({"requests": np.nan}, id="requests unknown"),
    pytest.param({"itl_s": np.nan}, id="no ITL"),
    pytest.param({"itl_s": 0.0}, id="ITL zero"),
    pytest.param({"arrival_rate_rps": np.nan}, id="no rate"),
    pytest.param({"decoding_requests": np.nan}, id="no concurrency"),
]


@pytest.mark.parametrize("missing", UNUSABLE)
def test_a_window_that_says_too_little_changes_nothing(missing):
    lengths = workloads(512.0, 128.0)
    observed = window(4.0, lengths)
    observed = replace(observed, **{k: np.array([v]) for k, v in missing.items()})
    before = EstimatorState.empty(("v",))
    after = update(
        before,
        names=("v",),
        observations=observed,
        workloads=lengths,
        seed=profiles(SEED),
        now_s=0.0,
    )
    assert after is before


def test_overlapping_windows_are_taken_once():
    state = run([(4.0, 512.0, 128.0)] * 5, every_s=2.0)
    assert state.taken_s[0] == 0.0
    assert state.requests.sum() == 40.0


def test_like_windows_join_and_others_take_slots_of_their_own():
    state = run([(4.0, 512.0, 128.0)] * 3 + [(12.0, 512.0, 128.0)] + [(4.0, 2048.0, 128.0)])
    np.testing.assert_array_equal(np.sort(state.requests[0])[-3:], [40.0, 120.0, 120.0])
    assert (state.requests[0] > 0).sum() == 3


def test_a_point_follows_its_newest_windows():
    lengths = workloads(512.0, 128.0)
    state, slower = EstimatorState.empty(("v",)), TRUTH * 1.05
    for i in range(400):
        state = update(
            state,
            names=("v",),
            observations=window(4.0, lengths, TRUTH if i < 100 else slower),
            workloads=lengths,
            seed=profiles(SEED),
            now_s=10.0 * i,
        )
    newest = window(4.0, lengths, slower)
    assert state.points[0, state.seen_s[0].argmax(), 7] == pytest.approx(newest.itl_s[0], rel=0.01)


def test_ttft_that_tells_of_the_queue_is_left_out():
    lengths = workloads(512.0, 128.0)
    queued = replace(window(12.0, lengths, waiting=8.0), ttft_s=np.array([2.0]))
    state = run(MANY_SHAPES)
    after = update(
        state,
        names=("v",),
        observations=queued,
        workloads=lengths,
        seed=profiles(SEED),
        now_s=1e3,
    )
    assert np.isnan(after.points[0, after.seen_s[0].argmax(), 8])
    np.testing.assert_allclose(after.current[0], TRUTH, rtol=0.02)


def test_variants_come_and_go_by_name():
    names = ("a", "b")
    state = EstimatorState.empty(names)
    lengths = workloads([512.0, 512.0], [128.0, 128.0])
    state = update(
        state,
        names=names,
        observations=window([4.0, 8.0], lengths),
        workloads=lengths,
        seed=profiles(np.stack([SEED, SEED])),
        now_s=0.0,
    )
    lengths = workloads([512.0, 512.0], [128.0, 128.0])
    moved = update(
        state,
        names=("new", "a"),
        observations=window([1.0, 12.0], lengths),
        workloads=lengths,
        seed=profiles(np.stack([SEED, SEED])),
        now_s=10.0,
    )
    assert moved.names == ("new", "a")
    assert (moved.requests > 0).sum(axis=1).tolist() == [1, 2]
    # The state that went in is as it was.
    assert state.names == names
    assert (state.requests > 0).sum(axis=1).tolist() == [1, 1]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.6, 20.0), st.floats(16.0, 4096.0), st.floats(8.0, 1024.0)),
        min_size=1,
        max_size=12,
    ),
    st.floats(0.5, 2.0),
)
def test_profiles_stay_positive_and_finite_whatever_comes(windows, factor):
    state = EstimatorState.empty(("v",))
    for i, (rate, prompt, output) in enumerate(windows):
        lengths = workloads(prompt, output)
        observed = window(rate, lengths)
        observed = replace(observed, itl_s=observed.itl_s * factor ** (i % 3 - 1))
        state = update(
            state,
            names=("v",),
            observations=observed,
            workloads=lengths,
            seed=profiles(SEED),
            now_s=10.0 * i,
        )
    theta = parameters_of(learned(state, profiles(SEED)).profiles)
    assert (theta > 0).all()
    assert np.isfinite(theta).all()


def test_a_thousand_variants_cost_little():
    count = 1000
    names = tuple(f"v{i}" for i in range(count))
    lengths = workloads(np.linspace(64, 4096, count), np.linspace(32, 512, count))
    seed = profiles(np.broadcast_to(SEED, (count, 5)))
    state, spent = EstimatorState.empty(names), []
    for i, rate in enumerate((0.5, 1.0, 1.5, 2.0, 2.5)):
        observed = window(np.full(count, rate), lengths, seconds=60.0)
        began = time.process_time()
        state = update(
            state, names=names, observations=observed, workloads=lengths, seed=seed, now_s=10.0 * i
        )
        spent.append(time.process_time() - began)
    assert (learned(state, seed).status >= FitStatus.ANCHORED).mean() > 0.95
    # Every variant is fitted anew in each of these; measured: 0.15 s each.
    assert min(spent) < 1.0


# The real engine's ramp: phases of 40 s at these offered rates.
PHASES = [2, 6, 12, 20, 30, 48, 12, 3]
COUNTERS = {
    "itl_s": "vllm:inter_token_latency_seconds_sum",
    "itl_events": "vllm:inter_token_latency_seconds_count",
    "ttft_s": "vllm:time_to_first_token_seconds_sum",
    "first_tokens": "vllm:time_to_first_token_seconds_count",
    "prompt_tokens": "vllm:request_prompt_tokens_sum",
    "output_tokens": "vllm:request_generation_tokens_sum",
    "finished": "vllm:request_generation_tokens_count",
    "hits": "vllm:prefix_cache_hits_total",
    "queries": "vllm:prefix_cache_queries_total",
    "waiting": "vllm:num_requests_waiting",
}
OUTPUT_BUCKETS = "vllm:request_generation_tokens_bucket"


def read_scrapes():
    """Return time and counters of each scrape, by the reference parser."""
    rows = []
    with gzip.open(CAPTURE / "scrapes.jsonl.gz", "rt") as lines:
        for line in lines:
            scrape = json.loads(line)
            values = {}
            for family in text_string_to_metric_families(scrape["body"]):
                for sample in family.samples:
                    values[sample.name] = values.get(sample.name, 0.0) + sample.value
            rows.append([scrape["t_s"], *(values[name] for name in COUNTERS.values())])
    return np.array(rows)


class Ramp:
    """The scrapes, and the means of any stretch of them as the estimator takes them."""

    def __init__(self, table):
        self.time_s = table[:, 0]
        self.columns = dict(zip(COUNTERS, table[:, 1:].T, strict=True))

    def window(self, first, last):
        seconds = self.time_s[last] - self.time_s[first]
        d = {n: np.array([c[last] - c[first]]) for n, c in self.columns.items()}
        if min(d["finished"][0], d["itl_events"][0], d["first_tokens"][0]) <= 0:
            return None
        waiting = self.columns["waiting"][first + 1 : last + 1].mean()
        observations = Observations(
            requests=d["finished"],
            arrival_rate_rps=d["first_tokens"] / seconds,
            decoding_requests=d["itl_s"] / seconds,
            waiting_requests=np.array([waiting]),
            itl_s=d["itl_s"] / d["itl_events"],
            ttft_s=d["ttft_s"] / d["first_tokens"],
            prompt_tokens=np.full(1, np.nan),
            context_tokens=np.full(1, np.nan),
        )
        prompt, output = d["prompt_tokens"] / d["finished"], d["output_tokens"] / d["finished"]
        lengths = Workloads(
            prompt_tokens_mean=prompt,
            prompt_tokens_second_moment=2.0 * prompt**2,
            output_tokens_mean=output,
            output_tokens_second_moment=2.0 * output**2,
            prefix_hit_ratio=d["hits"] / np.maximum(d["queries"], 1.0),
        )
        return observations, lengths

    def phase(self, number):
        first, last = np.searchsorted(self.time_s, [40.0 * number, 40.0 * (number + 1)])
        return self.window(first, last - 1)


def itl_error(profile, phase):
    """Relative error of the ITL predicted from the phase's concurrency and lengths."""
    observed, lengths = phase
    load = load_of(lengths, observed.arrival_rate_rps)
    requests = observed.decoding_requests + observed.arrival_rate_rps * observed.ttft_s
    itl, _ = at_concurrency(profile, load, requests)
    return float(itl[0] / observed.itl_s[0] - 1.0)


@pytest.fixture(scope="module")
def ramp():
    if not CAPTURE.is_dir():
        pytest.skip(f"recording of a real vLLM not found: {CAPTURE}")
    return Ramp(read_scrapes())


def test_a_real_engines_ramp_is_learned_while_it_runs(ramp):
    """Nothing is known of the engine (a CPU); windows of 10 s are fed as they come."""
    seed = prior_profiles(["cpu"], ["tiny/llama"], accelerators_per_replica=np.array([1]))
    state, began, online = EstimatorState.empty(("v",)), 0, []
    for now in range(1, len(ramp.time_s)):
        now_s = ramp.time_s[now]
        if now_s - ramp.time_s[began] >= 9.5:
            seen, began = ramp.window(began, now), now
            if seen is not None:
                state = update(
                    state,
                    names=("v",),
                    observations=seen[0],
                    workloads=seen[1],
                    seed=seed,
                    now_s=now_s,
                    settings=EstimatorSettings(spacing_s=9.0),
                )
        if len(online) < len(PHASES) and now_s >= 40.0 * (len(online) + 1):
            online.append(itl_error(learned(state, seed).profiles, ramp.phase(len(online))))
    got = learned(state, seed)
    final = [itl_error(got.profiles, ramp.phase(p)) for p in range(len(PHASES))]
    for rate, at_its_end, at_the_end in zip(PHASES, online, final, strict=True):
        print(f"{rate:3d}/s  ITL {at_its_end:+.1%} then, {at_the_end:+.1%} in the end")
    assert got.trust[0] == Trust.LEARNED
    # As it went, each phase with what was learned up to its end; and in hindsight.
    for errors in (online, final):
        assert np.abs(errors).max() <= 0.15
        assert np.abs(errors).mean() <= 0.10


def test_the_ramp_is_learned_from_windows_of_twenty_seconds_as_well(ramp):
    seed = ServiceProfiles(**{name: np.array([np.nan]) for name in PARAMETERS})
    state = EstimatorState.empty(("v",))
    edges = np.arange(0, len(ramp.time_s), 10)
    for first, last in itertools.pairwise(edges):
        seen = ramp.window(first, last)
        if seen is not None:
            state = update(
                state,
                names=("v",),
                observations=seen[0],
                workloads=seen[1],
                seed=seed,
                now_s=ramp.time_s[last],
            )
    got = learned(state, seed).profiles
    errors = [itl_error(got, ramp.phase(p)) for p in range(len(PHASES))]
    assert np.abs(errors).max() <= 0.15
    assert np.abs(errors).mean() <= 0.10
