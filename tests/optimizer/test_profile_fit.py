"""Profiles from observations: exact where they determine it, declared where they don't."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.domain import ServiceProfiles, Trust, Workloads
from optimizer.operating_point import at_rate
from optimizer.profile_fit import GENERIC_SEED, FitStatus, Guard, fit_profiles, trust_of
from optimizer.profile_points import FitProblem, Points
from optimizer.step_law import EVEN, PARAMETERS, POISSON, Load, load_of, parameters_of, profiles_of

TRUTH = np.array([6.6e-3, 18e-6, 22e-6, 55e-9, 9e-3])
SEED = np.array([8e-3, 40e-6, 40e-6, 40e-9, 5e-3])
# (prompt, output, arrival rates): several shapes at several rates.
MANY_SHAPES = [
    (64.0, 256.0, (5.0, 20.0)),
    (256.0, 1024.0, (1.0, 5.0)),
    (1024.0, 64.0, (4.0, 16.0)),
    (4096.0, 256.0, (0.5, 3.0)),
]
ONE_SHAPE = [(512.0, 128.0, (1.0, 4.0, 8.0, 12.0))]
ONE_POINT = [(512.0, 128.0, (4.0, 4.0, 4.0))]


def profiles(theta):
    return profiles_of(np.atleast_2d(theta))


def observed(shapes, theta=TRUTH, *, by_rate=False, with_ttft=True, dispersion=POISSON):
    """Noiseless points of one replica under the law, shape (1, K)."""
    rows = [(p, o, r) for p, o, rates in shapes for r in rates]
    prompt, output, rate = (np.array([column]) for column in zip(*rows, strict=True))
    workloads = Workloads(
        prompt_tokens_mean=prompt,
        prompt_tokens_second_moment=1.1 * prompt**2,
        output_tokens_mean=output,
        output_tokens_second_moment=1.1 * output**2,
        prefix_hit_ratio=np.zeros_like(prompt),
    )
    load = load_of(workloads, rate)
    law = ServiceProfiles(
        **{n: np.full(rate.shape, v) for n, v in zip(PARAMETERS, theta, strict=True)}
    )
    itl, ttft = at_rate(law, load, dispersion=dispersion)
    decoding = rate * load.decode_steps * itl
    return Points(
        load=load,
        decoding_requests=np.full_like(rate, np.nan) if by_rate else decoding,
        itl_s=itl,
        ttft_s=ttft if with_ttft else np.full_like(ttft, np.nan),
        weight=np.ones_like(rate),
    )


def fit_one(points, *, seed=SEED, **options):
    return fit_profiles(points, seed=profiles(seed), **options)


def status(fitted):
    return FitStatus(int(fitted.status[0]))


@pytest.mark.parametrize("by_rate", [False, True], ids=["concurrency known", "rate alone"])
@pytest.mark.parametrize("dispersion", [POISSON, EVEN], ids=["Poisson", "evenly spaced"])
def test_noiseless_points_of_several_shapes_give_every_parameter(by_rate, dispersion):
    points = observed(MANY_SHAPES, by_rate=by_rate, dispersion=dispersion)
    fitted = fit_one(points, dispersion=dispersion)
    assert status(fitted) == FitStatus.FULL
    np.testing.assert_allclose(parameters_of(fitted.profiles)[0], TRUTH, rtol=1e-3)
    assert fitted.condition[0] < 100
    assert fitted.error[0] < 1e-3


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(
        st.floats(2e-3, 40e-3),
        st.floats(5e-6, 200e-6),
        st.floats(5e-6, 200e-6),
        st.floats(10e-9, 300e-9),
        st.floats(2e-3, 30e-3),
    )
)
def test_any_engine_is_recovered_from_noiseless_points(theta):
    theta = np.array(theta)
    # Rates at which this engine is stable, whatever it is.
    slow = (theta / TRUTH).max()
    shapes = [(p, o, tuple(r / slow for r in rates)) for p, o, rates in MANY_SHAPES]
    fitted = fit_one(observed(shapes, theta), guard=Guard(largest_condition=1e6))
    assert status(fitted) == FitStatus.FULL
    np.testing.assert_allclose(parameters_of(fitted.profiles)[0], theta, rtol=0.02)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(observed(ONE_POINT), id="one point, three times"),
        pytest.param(observed([(512.0, 128.0, (4.0,))]), id="one point"),
    ],
)
def test_a_single_operating_point_is_never_a_fit(points):
    assert status(fit_one(points)) in {FitStatus.GUESS, FitStatus.SEED}
    held = fit_one(points, good=profiles(TRUTH * 1.1))
    assert status(held) == FitStatus.HELD
    np.testing.assert_array_equal(parameters_of(held.profiles)[0], TRUTH * 1.1)


def test_one_shape_at_several_rates_predicts_that_shape_at_others():
    fitted = fit_one(observed(ONE_SHAPE))
    assert status(fitted) == FitStatus.ANCHORED
    for rates, error in (((2.0, 6.0, 10.0), 0.02), ((16.0, 20.0), 0.05)):
        unseen = observed([(512.0, 128.0, rates)])
        itl, ttft = at_rate(fitted.profiles, unseen.load)
        np.testing.assert_allclose(itl, unseen.itl_s, rtol=error)
        np.testing.assert_allclose(ttft, unseen.ttft_s, rtol=error)


def test_without_ttft_the_slopes_are_learned_and_the_constant_is_the_seeds():
    fitted = fit_one(observed(ONE_SHAPE, with_ttft=False))
    assert status(fitted) == FitStatus.ANCHORED
    assert fitted.profiles.ttft_constant_s[0] == pytest.approx(SEED[4])
    unseen = observed([(512.0, 128.0, (2.0, 6.0, 16.0))])
    np.testing.assert_allclose(at_rate(fitted.profiles, unseen.load)[0], unseen.itl_s, rtol=0.03)


def lone_point(itl_ms, ttft_ms, prompt, output):
    """One observation of one request at a time."""
    one = np.ones((1, 1))
    load = Load(
        arrival_rate_rps=0 * one,
        prompt_tokens=prompt * one,
        prompt_tokens_second=prompt**2 * one,
        held_tokens=prompt * one,
        decode_steps=(output - 1) * one,
        context_tokens=(prompt + (output + 1) / 2) * one,
    )
    return Points(
        load=load,
        decoding_requests=0 * one,
        itl_s=itl_ms * 1e-3 * one,
        ttft_s=ttft_ms * 1e-3 * one,
        weight=one,
    )


# The three-parameter form: equal slopes, (next to) no constant.
PEER_SEED = np.array([5e-3, 50e-6, 50e-6, 50e-9, 1e-12])


def test_r11_seed_anchored_guess_of_one_observation():
    fitted = fit_one(lone_point(15.911, 80.48, 1123, 487), seed=PEER_SEED)
    assert status(fitted) == FitStatus.GUESS
    np.testing.assert_allclose(
        parameters_of(fitted.profiles)[0, :4] * 1e3, [15.785, 0.05756, 0.05756, 5e-5], rtol=1e-3
    )


def test_r11_a_guess_that_would_be_negative_is_the_whole_seed():
    fitted = fit_one(lone_point(20.0, 5.0, 1123, 487), seed=PEER_SEED)
    assert status(fitted) == FitStatus.SEED
    np.testing.assert_array_equal(parameters_of(fitted.profiles)[0], PEER_SEED)


def test_a_guess_far_from_the_seed_is_the_seed():
    fitted = fit_one(lone_point(200.0, 2000.0, 1123, 487), seed=PEER_SEED)
    assert status(fitted) == FitStatus.SEED


def test_a_seed_that_is_only_a_scale_is_bent_to_a_single_point():
    fitted = fit_one(lone_point(200.0, 2000.0, 1123, 487), seed_weight=np.array([GENERIC_SEED]))
    assert status(fitted) == FitStatus.GUESS
    itl, ttft = at_rate(fitted.profiles, lone_point(1, 1, 1123, 487).load)
    np.testing.assert_allclose([itl[0, 0], ttft[0, 0]], [0.2, 2.0], rtol=0.1)


def test_r11_three_identical_points_have_a_condition_beyond_any_guard():
    problem = FitProblem(
        points=observed(ONE_POINT),
        anchor=np.array([TRUTH]),
        hold=np.zeros(1),
        start=np.array([TRUTH]),
        dispersion=POISSON,
    )
    assert problem.fit(np.eye(5), iterations=0).condition[0] > 1e6
    varied = FitProblem(
        points=observed(MANY_SHAPES),
        anchor=np.array([TRUTH]),
        hold=np.zeros(1),
        start=np.array([TRUTH]),
        dispersion=POISSON,
    )
    assert varied.fit(np.eye(5), iterations=0).condition[0] < 100


def with_column(points, **columns):
    values = {
        n: getattr(points, n) for n in ("load", "decoding_requests", "itl_s", "ttft_s", "weight")
    }
    return Points(**{**values, **columns})


@pytest.mark.parametrize("by_rate", [False, True], ids=["concurrency known", "rate alone"])
@pytest.mark.parametrize(("itl", "ttft"), [(0.25, 10.0), (4.0, 0.3), (1.0, 10.0)])
def test_an_outlier_does_not_move_the_fit(by_rate, itl, ttft):
    points = observed(MANY_SHAPES, by_rate=by_rate)
    itl_s, ttft_s = points.itl_s.copy(), points.ttft_s.copy()
    itl_s[0, 1] *= itl
    ttft_s[0, 1] *= ttft
    fitted = fit_one(with_column(points, itl_s=itl_s, ttft_s=ttft_s))
    assert status(fitted) == FitStatus.FULL
    np.testing.assert_allclose(parameters_of(fitted.profiles)[0], TRUTH, rtol=0.1)


@pytest.mark.parametrize(
    "shapes", [MANY_SHAPES, ONE_SHAPE, ONE_POINT], ids=["full", "one shape", "point"]
)
@pytest.mark.parametrize("unit", [1e-3, 60.0])
def test_the_unit_of_time_does_not_matter(shapes, unit):
    plain = observed(shapes)
    load = plain.load
    other = Points(
        load=Load(
            arrival_rate_rps=load.arrival_rate_rps / unit,
            prompt_tokens=load.prompt_tokens,
            prompt_tokens_second=load.prompt_tokens_second,
            held_tokens=load.held_tokens,
            decode_steps=load.decode_steps,
            context_tokens=load.context_tokens,
        ),
        decoding_requests=plain.decoding_requests,
        itl_s=plain.itl_s * unit,
        ttft_s=plain.ttft_s * unit,
        weight=plain.weight,
    )
    a, b = fit_one(plain), fit_one(other, seed=SEED * unit)
    assert status(a) == status(b)
    np.testing.assert_allclose(
        parameters_of(b.profiles), unit * parameters_of(a.profiles), rtol=1e-6
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-3, 1.0), st.floats(1e-3, 1.0)), min_size=8, max_size=8))
def test_nonsense_never_gives_a_negative_or_infinite_parameter(latencies):
    itl, ttft = np.array(latencies).T
    points = with_column(observed(MANY_SHAPES), itl_s=itl[None], ttft_s=ttft[None])
    theta = parameters_of(fit_one(points).profiles)
    assert (theta > 0).all()
    assert np.isfinite(theta).all()


def test_noise_that_hides_the_slopes_is_not_adopted():
    points = observed([(512.0, 128.0, (4.0, 4.1, 4.2, 4.3))])
    noisy = points.itl_s * np.array([[1.2, 0.8, 1.15, 0.85]])
    assert status(fit_one(with_column(points, itl_s=noisy))) < FitStatus.ANCHORED
    # What was good bends towards what is seen now, and stays what it is.
    held = fit_one(with_column(points, itl_s=noisy * 1.5), good=profiles(TRUTH))
    assert status(held) == FitStatus.HELD
    itl, _ = at_rate(held.profiles, points.load)
    assert (itl > points.itl_s * 1.1).all()


def test_replicas_of_a_batch_dont_touch_each_other():
    shapes = [MANY_SHAPES[i] for i in (0, 1)]
    full, point = (
        observed(shapes),
        observed([(512.0, 128.0, (4.0, 4.0)), (512.0, 128.0, (4.0, 4.0))]),
    )

    def joined(name):
        return np.concatenate([getattr(full, name), getattr(point, name)])

    together = Points(
        load=Load(
            **{
                n: np.concatenate([getattr(full.load, n), getattr(point.load, n)])
                for n in Load.__slots__
            }
        ),
        **{n: joined(n) for n in ("decoding_requests", "itl_s", "ttft_s", "weight")},
    )
    both = fit_profiles(together, seed=profiles(np.stack([SEED, SEED])))
    for i, alone in enumerate((fit_one(full), fit_one(point))):
        assert both.status[i] == alone.status[0]
        np.testing.assert_allclose(
            parameters_of(both.profiles)[i], parameters_of(alone.profiles)[0], rtol=1e-5
        )


def test_without_observations_there_is_the_seed():
    points = with_column(observed(MANY_SHAPES), weight=np.zeros((1, 8)))
    fitted = fit_one(points)
    assert status(fitted) == FitStatus.SEED
    np.testing.assert_array_equal(parameters_of(fitted.profiles)[0], SEED)


@pytest.mark.parametrize(
    "shapes", [MANY_SHAPES, ONE_SHAPE, ONE_POINT], ids=["many", "one", "point"]
)
@pytest.mark.parametrize("known", [1, 2, 3], ids=["base alone", "and decode", "and prefill"])
def test_a_seed_with_zeros_is_learned_from(shapes, known):
    """Settings need alpha and beta alone; what isn't given there is 0."""
    seed = np.where(np.arange(len(SEED)) < known, SEED, 0.0)
    fitted = fit_one(observed(shapes), seed=seed)
    learned = parameters_of(fitted.profiles)[0]
    assert np.all(np.isfinite(learned))
    assert np.all(learned >= 0.0)
    if shapes is MANY_SHAPES:
        assert learned == pytest.approx(TRUTH, rel=0.05)


def test_a_seed_with_zeros_and_no_observations_keeps_them():
    seed = np.array([8e-3, 40e-6, 40e-6, 0.0, 0.0])
    nothing = observed(ONE_POINT)
    nothing.weight[:] = 0.0
    assert parameters_of(fit_one(nothing, seed=seed).profiles)[0] == pytest.approx(seed)


def test_trust_follows_the_status_and_a_seed_that_is_known():
    statuses = np.array(
        [FitStatus.SEED, FitStatus.GUESS, FitStatus.HELD, FitStatus.ANCHORED, FitStatus.FULL]
    )
    known, unknown = profiles(np.tile(SEED, (5, 1))), profiles(np.full((5, 5), np.nan))
    n, p, le = Trust.NONE, Trust.PRIOR, Trust.LEARNED
    assert trust_of(statuses, known).tolist() == [p, p, le, le, le]
    assert trust_of(statuses, unknown).tolist() == [n, p, le, le, le]


@pytest.mark.parametrize("by_rate", [False, True], ids=["concurrency known", "rate alone"])
def test_derivatives_are_those_of_the_predictions(by_rate):
    points = observed(MANY_SHAPES, by_rate=by_rate)
    problem = FitProblem(
        points=points,
        anchor=np.array([TRUTH]),
        hold=np.zeros(1),
        start=np.array([TRUTH]),
        dispersion=POISSON,
    )
    predicted, slope = problem.model()(np.array([TRUTH]), np.array([0]))
    for j in range(5):
        step = np.zeros(5)
        step[j] = TRUTH[j] * 1e-4
        up, down = (problem.model()(np.array([TRUTH + s]), np.array([0]))[0] for s in (step, -step))
        measured = (up - down) / (2 * step[j]) * TRUTH[j] / predicted
        np.testing.assert_allclose(slope[..., j] * TRUTH[j] / predicted, measured, atol=1e-6)
