"""The fitting engine, on a peer's queueing law and its published tuner vectors (R11).

The peer's law ("Model B" in a state-dependent M/M/1/K queue) is written out here on its
own: the engine knows nothing of what it fits.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.least_squares import fit_logarithms


def peer_latencies_ms(theta, point, batch, queue):
    """Mean TTFT and ITL of the peer's law: alpha, beta, gamma [ms]; rpm, input, output."""
    alpha, beta, gamma = theta
    rpm, i, o = point
    states = np.arange(1, batch + queue + 1)
    served = np.minimum(states, batch)
    # One prefill chunk: none of the vectors exceeds the 8192 tokens of a step.
    work = (beta + gamma) * i + beta * o + gamma * o * (i + (o + 1) / 2)
    step = alpha + served * work / (1 + o)
    logs = np.concatenate(
        [[0.0], np.cumsum(np.log(rpm / 60e3) - np.log(served / ((1 + o) * step)))]
    )
    p = np.exp(logs - logs.max())
    p /= p.sum()
    everywhere = np.concatenate([[0], states])
    through = rpm / 60e3 * (1 - p[-1])
    in_service = (np.minimum(everywhere, batch) * p).sum()
    response, service = (everywhere * p).sum() / through, in_service / through
    prefill = max(0.0, alpha + (in_service - 1) * work / (1 + o)) + (beta + gamma) * i
    itl = (service - prefill) / o
    return max(response - service, 0.0) + prefill + itl, itl


def peer_model(points, batch, queue):
    """The peer's law as the engine takes it, with central differences for derivatives."""

    def values(theta):
        return np.array([peer_latencies_ms(theta, point, batch, queue) for point in points])

    def model(parameters, rows):
        predicted, slopes = [], []
        for theta in parameters:
            predicted.append(values(theta))
            each = []
            for j in range(3):
                step = np.eye(3)[j] * theta[j] * 1e-4
                each.append((values(theta + step) - values(theta - step)) / (2 * step[j]))
            slopes.append(np.stack(each, axis=-1))
        return np.array(predicted), np.array(slopes)

    return model


def fit_peer(points, observed, start, *, batch=64, queue=0, iterations=60):
    start = np.array([start], dtype=float)
    return fit_logarithms(
        peer_model(points, batch, queue),
        observed=np.array([observed]),
        weight=np.ones((1, len(points), 2)),
        center=start,
        start=start,
        basis=np.eye(3),
        iterations=iterations,
    )


TRUTH = (16.78, 0.073, 0.00228)
POINTS = [(10, 90, 670), (15, 120, 900), (20, 150, 1100), (12, 100, 750), (18, 165, 1250)]
PUBLISHED = [
    (45.0818, 20.2015),
    (59.0095, 26.3667),
    (104.104, 48.0812),
    (48.6984, 21.7474),
    (135.963, 63.6476),
]
# The peer's first guess from one observation: 0.9 ITL, and so on (its section 2.7).
GUESS = (18.18, 0.27, 0.0046)


@pytest.mark.parametrize(
    ("point", "expected"),
    [pytest.param(p, e, id=f"{p[0]} rpm") for p, e in zip(POINTS, PUBLISHED, strict=True)],
)
def test_the_oracle_is_the_published_law(point, expected):
    assert peer_latencies_ms(TRUTH, point, 64, 0) == pytest.approx(expected, rel=2e-5)


STARTS = [
    pytest.param(GUESS, id="from the guess"),
    pytest.param((1.0, 0.01, 0.0001), id="from afar"),
]


@pytest.mark.parametrize("start", STARTS)
def test_r11_parameters_are_recovered(start):
    fit = fit_peer(POINTS, PUBLISHED, start)
    np.testing.assert_allclose(fit.parameters[0], TRUTH, rtol=1e-2)
    assert fit.condition[0] < 1000
    assert fit.error[0] < 1e-4


@pytest.mark.parametrize("start", STARTS)
def test_r11_an_outlier_does_not_move_the_fit(start):
    fit = fit_peer([*POINTS, (10, 90, 670)], [*PUBLISHED, (500.0, 5.0)], start)
    np.testing.assert_allclose(fit.parameters[0], TRUTH, rtol=0.1)


def condition_of(points, theta, **limits):
    observed = [peer_latencies_ms(theta, p, limits["batch"], limits["queue"]) for p in points]
    return float(fit_peer(points, observed, theta, iterations=0, **limits).condition[0])


CONDITIONS = [
    pytest.param([(15, 2000, 1000)] * 3, 1e6, np.inf, id="three identical points"),
    pytest.param([(12, 500, 400), (15, 1500, 1000), (18, 2500, 1600)], 1.0, 1e4, id="three points"),
]


@pytest.mark.parametrize(("points", "least", "most"), CONDITIONS)
def test_r11_condition_numbers(points, least, most):
    kappa = condition_of(points, (8, 0.016, 0.0005), batch=128, queue=2048)
    assert least <= kappa <= most


SWEEP = [
    *[(rpm, 512, 256) for rpm in (30, 60, 90, 120, 150)],
    (60, 1024, 128),
    (60, 256, 512),
]


def test_r11_calibration_sweep_predicts_a_point_it_has_not_seen():
    truth = (12, 0.04, 0.00006)
    held_out = (75, 768, 192)
    assert peer_latencies_ms(truth, held_out, 128, 0) == pytest.approx((56.186, 12.882), rel=1e-4)
    observed = [peer_latencies_ms(truth, point, 128, 0) for point in SWEEP]
    fit = fit_peer(SWEEP, observed, (5.0, 0.05, 5e-5), batch=128)
    assert fit.condition[0] < 1000
    predicted = peer_latencies_ms(fit.parameters[0], held_out, 128, 0)
    assert predicted == pytest.approx((56.186, 12.882), rel=0.01)


def test_r11_three_identical_points_are_not_determined():
    observed = [peer_latencies_ms((12, 0.04, 0.00006), (60, 512, 256), 128, 0)] * 3
    fit = fit_peer([(60, 512, 256)] * 3, observed, (5.0, 0.05, 5e-5), batch=128)
    assert fit.condition[0] > 1e6


def line(x):
    """y = a + b x with an extra axis of one kind of measurement."""

    def model(parameters, rows):
        predicted = parameters[:, :1] + parameters[:, 1:2] * x
        slope = np.stack([np.ones_like(predicted), np.broadcast_to(x, predicted.shape)], axis=-1)
        return predicted[..., None], slope[:, :, None, :]

    return model


def fit_line(x, y, *, weight=None, start=(1.0, 1.0), **options):
    y = np.atleast_2d(y)
    start = np.broadcast_to(np.array(start, dtype=float), (len(y), 2))
    return fit_logarithms(
        line(x),
        observed=y[..., None],
        weight=np.ones((*y.shape, 1)) if weight is None else weight[..., None],
        center=start,
        start=start,
        basis=options.pop("basis", np.eye(2)),
        **options,
    )


X = np.linspace(0.0, 4.0, 9)


def test_problems_in_a_batch_dont_touch_each_other():
    ys = np.array([3.0 + 0.5 * X, 0.2 + 9.0 * X, 7.0 + 1e-9 * X])
    together = fit_line(X, ys)
    alone = [fit_line(X, y) for y in ys]
    for i, fit in enumerate(alone):
        np.testing.assert_allclose(together.parameters[i], fit.parameters[0], rtol=1e-6)
    np.testing.assert_allclose(together.parameters[:2], [[3.0, 0.5], [0.2, 9.0]], rtol=1e-6)
    np.testing.assert_array_equal(together.at_bound, [False, False, True])


def test_rows_without_weight_have_no_say():
    y = 3.0 + 0.5 * X
    y[4] = np.nan
    weight = np.ones((1, len(X)))
    weight[0, 4] = 0.0
    fit = fit_line(X, y, weight=weight)
    np.testing.assert_allclose(fit.parameters[0], [3.0, 0.5], rtol=1e-6)


def test_fewer_rows_than_directions_determine_nothing():
    fit = fit_line(X[:1], 3.0 + 0.5 * X[:1])
    assert np.isinf(fit.condition[0])
    assert np.isinf(fit.standard_error[0])


def test_a_seed_decides_what_observations_leave_open():
    fit = fit_line(np.array([2.0]), np.array([12.0]), start=(3.0, 3.0), pull_to_center=1e-3)
    a, b = fit.parameters[0]
    assert a + 2 * b == pytest.approx(12.0, rel=1e-2)
    assert a > 3.0
    assert b > a  # b weighs more in what was observed


def test_tied_parameters_move_together():
    tied = fit_line(X, 2.0 + 2.0 * X, start=(1.0, 1.0), basis=np.ones((2, 1)))
    np.testing.assert_allclose(tied.parameters[0], [2.0, 2.0], rtol=1e-6)


positive = st.floats(1e-2, 1e2)


@given(positive, positive, st.floats(1e-3, 1e3))
def test_units_dont_matter(a, b, unit):
    y = a + b * X
    plain = fit_line(X, y, start=(a * 3, b / 3))
    scaled = fit_line(X, unit * y, start=(unit * a * 3, unit * b / 3))
    np.testing.assert_allclose(scaled.parameters, unit * plain.parameters, rtol=1e-5)
    np.testing.assert_allclose(scaled.condition, plain.condition, rtol=1e-3)


# Not at the ends, where one observation alone decides on a parameter.
@given(positive, positive, st.integers(3, 7), st.floats(0.01, 100.0))
def test_one_wrong_observation_pulls_with_bounded_force(a, b, place, factor):
    y = a + b * X
    wrong = y.copy()
    wrong[place] *= factor
    fitted = fit_line(X, wrong, start=(a * 2, b / 2)).parameters[0]
    np.testing.assert_allclose(fitted[0] + fitted[1] * X, y, rtol=0.05)


@given(st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=9))
def test_parameters_stay_positive_and_within_reach_whatever_was_observed(values):
    fit = fit_line(X[: len(values)], np.array(values))
    assert (fit.parameters >= 1e-2 * (1 - 1e-9)).all()
    assert (fit.parameters <= 1e2 * (1 + 1e-9)).all()
