"""What can be switched off is really missing from the decision, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest

from adapter.decide import DecisionMemory, decide, policy_of
from adapter.records import TickReport
from optimizer import Trust
from optimizer.learning import with_learned_profiles
from optimizer.step_law import parameters_of
from tests.helpers.closed_loop import ClosedLoop
from tests.helpers.snapshots import catalog_of, replica, snapshot_of
from tests.optimizer.test_estimation import MANY_SHAPES, SEED, TRUTH, profiles, run

REPORT = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)
TICKS, TICK_S = 40, 10.0
SETTINGS = """
down_window_s: 10
hpa_tolerance: 0.0
mechanisms: {{{off}}}
brakes: {{warm_up_s: 0, max_scale_up_factor: 100, max_scale_down_ratio: 1.0}}
accelerators: {{H100: {{cost_per_hour: 4.0}}, L40S: {{cost_per_hour: 1.5}}}}
service_classes: {{chat: {{slo: {{ttft_ms: 1000, itl_ms: 50, percentile: 95}}}}}}
models:
  llama-3.1-8b:
    service_class: chat
    profiles: {profiles}
variants:
  - {{name: fast, model: llama-3.1-8b, accelerator: H100, max_replicas: 20, cold_start_s: 20}}
"""
SLOW = "  - {name: slow, model: llama-3.1-8b, accelerator: L40S, min_replicas: 0, max_replicas: 20}"
GIVEN = """
      H100: {alpha_ms: 6.5, beta_ms: 0.02, gamma_ms: 0.00005, max_batch_size: 128}
      L40S: {alpha_ms: 22, beta_ms: 0.06, gamma_ms: 0.0002, max_batch_size: 128}"""


def catalog(off="", profiles=GIVEN, more=""):
    text = SETTINGS.format(off=f"{off}: false" if off else "", profiles=profiles)
    return catalog_of(text + more)


def decided(catalog, replicas, memory=None, *, at_s=1000.0):
    snapshot = snapshot_of(catalog, replicas, taken_s=at_s)
    return decide(snapshot, catalog, memory or DecisionMemory.empty(), report=REPORT)


def counts(publication):
    return publication.values["wva_desired_replicas"].tolist()


def busy(variant, name, rate_rps):
    return replica(
        variant,
        name,
        completion_rate_rps=rate_rps,
        mean_running_requests=2.0 * rate_rps,
        prompt_tokens_mean=1000.0,
        prompt_tokens_second_moment=2e6,
    )


def test_without_global_allocation_each_variant_grows_for_its_own_share():
    both = [busy(0, "f0", 120.0), busy(1, "s0", 40.0)]
    together, _ = decided(catalog(more=SLOW), both)
    apart, _ = decided(catalog("global_allocation", more=SLOW), both)
    each_rps = apart.details["predicted.capacity_rps"]
    carried = np.array(counts(apart)) * each_rps
    np.testing.assert_allclose(carried / carried.sum(), each_rps / each_rps.sum(), atol=0.05)
    paid = [float(np.nansum(p.details["cost.desired_per_hour"])) for p in (together, apart)]
    assert paid[0] < paid[1]


def test_alone_a_variant_at_zero_gets_no_share():
    apart, _ = decided(catalog("global_allocation", more=SLOW), [busy(0, "f0", 160.0)])
    assert counts(apart)[0] > 1
    assert counts(apart)[1] == 0


@pytest.mark.parametrize(
    ("off", "left"),
    [
        pytest.param("", 3, id="0.3 free on each of two is no room for a request of 0.4"),
        pytest.param("fragmentation_check", 2, id="on average there is room"),
    ],
)
def test_requests_must_fit_as_a_whole_unless_that_is_switched_off(off, left):
    one = {
        "kv_capacity_tokens": 10_000.0,
        "kv_usage_ratio": 0.4,
        "running_requests": 1.0,
        "mean_running_requests": 1.0,
        "completion_rate_rps": 0.05,
        "prompt_tokens_mean": 3900.0,
        "prompt_tokens_second_moment": 3900.0**2,
        "output_tokens_mean": 200.0,
        "output_tokens_second_moment": 200.0**2,
    }
    settings, memory = catalog(off), None
    for tick in range(TICKS):
        publication, memory = decided(
            settings, [replica(0, f"f{n}", **one) for n in range(3)], memory, at_s=tick * TICK_S
        )
    assert counts(publication) == [left]


@pytest.mark.parametrize(("off", "profile"), [("", TRUTH), ("profile_learning", SEED)])
def test_a_profile_that_nobody_gave_stays_presumed_where_none_is_learned(off, profile):
    request = ClosedLoop(models=1).request()
    request = replace(
        request,
        variant_names=("v",),
        variants=replace(request.variants, trust=np.array([int(Trust.PRIOR)])),
        profiles=profiles(SEED),
        state=replace(request.state, estimator=run(2 * MANY_SHAPES)),
        policy=policy_of(catalog(off)),
    )
    decided, estimator, _ = with_learned_profiles(request)
    np.testing.assert_allclose(parameters_of(decided.profiles)[0], profile, rtol=0.01)
    assert estimator.names == ("v",), "what was learned before isn't forgotten"
