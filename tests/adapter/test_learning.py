"""Profiles learned from what engines report, through analyze and plan, tick by tick."""

import numpy as np
import pytest

from optimizer.step_law import PARAMETERS
from tests.helpers.decision_loop import DecisionLoop
from tests.helpers.replicas import CHAT

TRUTH = CHAT | {
    "iteration_base_s": 6.6e-3,
    "decode_slope_s": 18e-6,
    "prefill_slope_s": 22e-6,
    "kv_slope_s": 55e-9,
    "ttft_constant_s": 9e-3,
    "kv_capacity_tokens": 424_000.0,
}
SLOWER = {name: 1.3 * TRUTH[name] for name in PARAMETERS}
SLO = {"ttft_s": 1.0, "itl_s": 0.02}
REPLICAS = 4
SETTINGS = f"""
service_classes: {{chat: {{slo: {{ttft_ms: 1000, itl_ms: 20, percentile: 95}}}}}}
models: {{mystery: {{service_class: chat}}}}
variants:
  - {{name: v, model: mystery, accelerator: box, min_replicas: {REPLICAS}, max_replicas: {REPLICAS}}}
"""
NAMED = SETTINGS.replace("mystery", "llama-3.1-8b").replace("box", "H100")
DECLARED = NAMED.replace(
    "service_class: chat}",
    "service_class: chat, profiles: {H100: {alpha_ms: 6.6, beta_ms: 0.018, "
    "beta_prefill_ms: 0.022, gamma_ms: 0.000055, ttft_constant_ms: 9.0}}}",
)
# Lengths, and the share of what a replica carries of them: a minute each.
POINTS = [
    (64, 256, 0.4),
    (512, 512, 0.5),
    (1024, 128, 0.6),
    (2048, 256, 0.5),
    (512, 128, 0.7),
    (128, 512, 0.6),
    (1024, 256, 0.4),
    (2048, 128, 0.6),
    (512, 256, 0.7),
    (512, 256, 0.5),
]


def capacity_by(loop, law):
    """What a replica carries of the lengths of now, by a law's parameters."""
    return loop.true_capacity_rps(**SLO, **dict(zip(PARAMETERS, law, strict=True)))


def learned_capacity(loop):
    return capacity_by(loop, loop.memory.analysis.plan.estimator.current[0])


def true_capacity(loop):
    return loop.true_capacity_rps(**SLO)


def taught(settings, **options):
    """Return a loop after ten minutes of traffic at ten operating points."""
    loop = DecisionLoop(settings, TRUTH, start=REPLICAS, **options)
    for prompt, output, share in POINTS:
        lengths = {"prompt_tokens_mean": prompt, "output_tokens_mean": output}
        rate = REPLICAS * share * loop.true_capacity_rps(**SLO, **lengths)
        loop.run(rate, seconds=60.0, **lengths)
    return loop


@pytest.mark.parametrize(
    "settings", [pytest.param(SETTINGS, id="nothing-known"), pytest.param(NAMED, id="names-tell")]
)
def test_ten_minutes_at_several_operating_points_teach_the_capacity(settings):
    loop = taught(settings, itl_scatter=0.01)
    assert loop.publication.texts["profile"] == ("learned",)
    assert learned_capacity(loop) == pytest.approx(true_capacity(loop), rel=0.05)


def test_what_scatters_too_much_to_tell_capacity_leaves_the_seed_in_force():
    loop = taught(NAMED, itl_scatter=0.04)
    assert loop.publication.texts["profile"] == ("prior",)
    assert np.isnan(loop.memory.analysis.plan.estimator.current).all()


def test_one_window_of_tenfold_gaps_moves_the_learned_capacity_by_little():
    loop = taught(NAMED, itl_scatter=0.01)
    before = learned_capacity(loop)
    rate = REPLICAS * 0.5 * true_capacity(loop)
    loop.run(rate, seconds=loop.window_s, itl_factor=10.0)
    struck = learned_capacity(loop)
    loop.run(rate, seconds=120.0)
    assert struck == pytest.approx(before, rel=0.05)
    assert learned_capacity(loop) == pytest.approx(before, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "told"),
    [pytest.param(NAMED, "learned", id="learned"), pytest.param(DECLARED, "given", id="declared")],
)
def test_the_capacity_in_force_follows_an_engine_that_became_slower(settings, told):
    loop = taught(settings, itl_scatter=0.01)
    rate = REPLICAS * 0.5 * true_capacity(loop)
    loop.run(rate, seconds=60.0)
    assert loop.publication.texts["profile"] == (told,)
    at_first, fast = loop.capacity_rps, true_capacity(loop)
    loop.run(rate, seconds=300.0, **SLOWER)
    slow = true_capacity(loop)
    assert slow < 0.85 * fast
    assert loop.capacity_rps / at_first == pytest.approx(slow / fast, rel=0.1)
