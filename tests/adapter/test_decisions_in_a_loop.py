"""Decisions in a closed loop, from readings to counts that are obeyed: what must not happen."""

from dataclasses import dataclass

import numpy as np
import pytest

from adapter.decide import DecisionMemory, decide
from adapter.explain import explain_variant, to_text
from adapter.records import Freshness, Missing, TickReport
from tests.adapter.collect.engines_of import Engine
from tests.helpers.closed_loop import reversals
from tests.helpers.decision_loop import DecisionLoop
from tests.helpers.replicas import CHAT
from tests.helpers.snapshots import catalog_of, replica, snapshot_of

REPORT = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)

SLO = {"ttft_s": 1.0, "itl_s": 0.05}
# Brakes off: what doesn't swing doesn't for their sake.
HEAD = """
hpa_tolerance: 0.0
brakes: {warm_up_s: 0, max_scale_up_factor: 100, max_scale_down_ratio: 1.0}
service_classes: {chat: {slo: {ttft_ms: 1000, itl_ms: 50, percentile: 95}}}
"""
LONG_PROMPTS = CHAT | {
    "iteration_base_s": 6.26e-3,
    "decode_slope_s": 12.7e-6,
    "prefill_slope_s": 20.8e-6,
    "kv_slope_s": 41e-9,
    "ttft_constant_s": 10.8e-3,
    "max_batch_size": 128,
    "max_queue_size": 1280,
    "kv_capacity_tokens": 424_000.0,
    "prompt_tokens_mean": 3000.0,
    "prompt_shape": 1.25,
    "output_tokens_mean": 150.0,
    "output_shape": 1.25,
}
DECLARED = (
    HEAD
    + """
models:
  m:
    service_class: chat
    profiles:
      H100: {alpha_ms: 6.26, beta_ms: 0.0127, beta_prefill_ms: 0.0208, gamma_ms: 0.000041,
             ttft_constant_ms: 10.8, max_batch_size: 128, kv_capacity_tokens: 424000}
variants:
  - {name: v, model: m, accelerator: H100, max_replicas: 40, cold_start_s: 60}
"""
)
UNKNOWN = """
hpa_tolerance: 0.0
mechanisms: {profile_learning: false}
brakes: {warm_up_s: 0, max_scale_up_factor: 100, max_scale_down_ratio: 1.0}
variants:
  - {name: v, model: mystery, accelerator: box, max_replicas: 40, cold_start_s: 180}
"""


class PrefixCaches:
    """The hit ratio of caches that lose the prompts of replicas that come and go.

    A router sends a prompt to where its prefix is: of n replicas a change moves the share of
    those that aren't the same. What is lost comes back over minutes.
    """

    def __init__(self, loop, *, warm_ratio=0.7, recovery_s=180.0):
        self.loop, self.warm_ratio, self.recovery_s = loop, warm_ratio, recovery_s
        self.ratio, self.seen_s, self.seen = warm_ratio, loop.now_s, set(loop.ready)

    def lose_all(self):
        self.ratio = 0.02

    def __call__(self, now_s):
        ready = set(self.loop.ready)
        self.ratio *= len(ready & self.seen) / len(ready | self.seen)
        back = -np.expm1(-(now_s - self.seen_s) / self.recovery_s)
        self.ratio += back * (self.warm_ratio - self.ratio)
        self.seen_s, self.seen = now_s, ready
        return self.ratio


def test_caches_that_are_lost_with_a_replica_are_answered_once_and_let_go_once():
    loop = DecisionLoop(DECLARED, LONG_PROMPTS, start=4)
    rate = 3.3 * loop.true_capacity_rps(**SLO, prefix_hit_ratio=0.7)
    low = np.ceil(rate / loop.true_capacity_rps(**SLO, prefix_hit_ratio=0.02))
    caches = PrefixCaches(loop)
    loop.run(rate, seconds=300.0, prefix_hit_ratio=caches)
    assert loop.wanted == 4
    since = len(loop.history)
    loop.lose_one()
    caches.lose_all()
    loop.run(rate, seconds=300.0, prefix_hit_ratio=caches)
    assert min(loop.history[since:]) >= low  # while hits are few
    carried = []
    for _ in range(18):
        loop.run(rate, seconds=60.0, prefix_hit_ratio=caches)
        carried.append(loop.wanted * loop.true_capacity_rps(**SLO) / rate)
    assert min(carried) >= 1.0
    assert loop.wanted < low  # hits are back: what they save is let go, once
    assert reversals(np.array([loop.history[since - 1 :]]).T).tolist() == [1]


# Memory runs out before the engine does: 40 requests of 768 tokens on average.
SMALL_CACHE = CHAT | {"output_tokens_mean": 512.0, "kv_capacity_tokens": 31_000.0}


@dataclass(frozen=True)
class Played:
    """Per tick: the count asked for, and what the fullest engine was like then."""

    wanted: list[int]
    kv_usage: list[float]
    waiting: list[float]


def played(rate_of, *, minutes):
    """Return how a loop goes without a profile, at a rate as of its beginning."""
    loop = DecisionLoop(UNKNOWN, SMALL_CACHE, start=1, cold_start_s=180.0)
    begin_s, seen = loop.now_s, Played([], [], [])
    for _ in range(int(minutes * 60.0 / loop.tick_s)):
        serving = len(loop.ready)
        loop.run(lambda now_s: rate_of(now_s - begin_s), seconds=loop.tick_s)
        details = loop.publication.details
        seen.wanted.append(loop.wanted)
        seen.kv_usage.append(details["input.kv_usage_ratio"][0])
        seen.waiting.append(details["input.waiting_requests"][0] / serving)
    return seen


def test_a_load_that_grows_is_answered_before_any_engine_is_full_without_a_profile():
    """A replica takes three minutes: the trend says what engines hold by then."""
    first_rps, per_minute = 1.3, 0.21
    grown = played(lambda s: first_rps + per_minute * s / 60.0, minutes=20)
    assert grown.wanted[-1] == 2
    asked = grown.wanted.index(2)
    assert grown.kv_usage[asked] < 0.7  # what is planned with isn't used up yet
    assert max(grown.kv_usage) < 0.8  # nor is any engine full until the second one is there
    assert max(grown.waiting) < 5.0
    same_rps = first_rps + per_minute * asked * 20.0 / 60.0
    assert set(played(lambda _: same_rps, minutes=8).wanted) == {1}  # it was for the trend


LOADED = {"kv_usage_ratio": 0.95, "running_requests": 60.0, "mean_running_requests": 60.0}
IDLE = {"kv_usage_ratio": 0.05, "running_requests": 2.0, "mean_running_requests": 2.0}


@pytest.mark.parametrize(
    ("settings", "head"), [(UNKNOWN, "mystery"), (DECLARED, "m")], ids=["unknown", "declared"]
)
def test_one_hot_replica_among_idle_ones_is_told_and_buys_nothing(settings, head):
    catalog, memory = catalog_of(settings), DecisionMemory.empty()
    assert catalog.models[0].model == head
    pods = [replica(0, "hot", waiting_requests=9.0, **LOADED)]
    pods += [replica(0, f"idle{i}", **IDLE) for i in range(3)]
    for tick in range(60):
        read = snapshot_of(catalog, pods, taken_s=1000.0 + 10.0 * tick)
        publication, memory = decide(read, catalog, memory, report=REPORT)
        assert publication.values["wva_desired_replicas"][0] <= 4
        assert publication.details["input.hot_replicas"].tolist() == [1.0]
    told = explain_variant(publication, 0, 1.0, Freshness.FRESH)
    assert told["inputs"]["hot_replicas"]["value"] == 1.0
    assert "hot replicas" in to_text(told)


@pytest.mark.parametrize("mode", ["observe", "paused"])
def test_a_dry_run_of_everything_publishes_what_is_there_and_tells_what_it_would_do(mode):
    first = "{name: a, mode: paused, model: m, accelerator: H100, max_replicas: 1,"
    three = DECLARED.replace(
        "{name: v, model: m, accelerator: H100, max_replicas: 40,", first
    ) + "".join(
        f"  - {{name: {name}, model: m, accelerator: H100, max_replicas: 40}}\n" for name in "bc"
    )
    busy = {"completion_rate_rps": 150.0, "mean_running_requests": 300.0}
    pods = [replica(row, f"{row}", **busy) for row in range(3)]
    found = {}
    for text in (three, f"mode: {mode}\n" + three):
        catalog = catalog_of(text)
        read = snapshot_of(catalog, pods)
        found[text], _ = decide(read, catalog, DecisionMemory.empty(), report=REPORT)
    acts, dry = found.values()
    assert acts.values["wva_desired_replicas"].sum() > 3.0
    assert dry.values["wva_desired_replicas"].tolist() == [1.0, 1.0, 1.0]
    assert dry.held_values.tolist() == [1.0, 1.0, 1.0]
    recommended = dry.values["wva_recommended_replicas"]
    assert recommended.tolist() == acts.values["wva_recommended_replicas"].tolist()
    assert recommended.sum() > 3.0
    assert dry.texts["mode"] == ("paused", mode, mode)  # a variant's own says more
    bought = int(recommended.argmax())
    told = explain_variant(dry, bought, 1.0, Freshness.FRESH)
    assert told["decision"]["desired_replicas"] == 1.0
    assert told["decision"]["recommended_replicas"] == recommended[bought]
    assert told["reason"]


@pytest.mark.parametrize(
    ("capacity", "deferred", "more"),
    [
        pytest.param(0, 0, False, id="nobody-waits"),
        pytest.param(0, 150, False, id="all-wait-for-an-adapter"),
        pytest.param(150, 0, True, id="all-wait-for-room"),
    ],
)
def test_only_requests_that_wait_for_room_are_taken_for_saturation(capacity, deferred, more):
    """From the page of an engine on; with a single LoRA slot most requests may be deferred."""
    name, engine, memory = 'model_name="mystery"', Engine("mystery"), DecisionMemory.empty()
    catalog = catalog_of(UNKNOWN)
    for tick in range(12):
        page = (
            f"vllm:num_requests_running{{{name}}} 30\n"
            f"vllm:num_requests_waiting{{{name}}} {capacity + deferred}\n"
            f'vllm:num_requests_waiting_by_reason{{{name},reason="capacity"}} {capacity}\n'
            f'vllm:num_requests_waiting_by_reason{{{name},reason="deferred"}} {deferred}\n'
            f"vllm:kv_cache_usage_perc{{{name}}} 0.6\n"
            f"vllm:request_success_total{{{name}}} {20 * tick}\n"
        )
        read = {k: v for k, v in engine.read(page).replica.items() if not isinstance(v, Missing)}
        snapshot = snapshot_of(catalog, [replica(0, "v0", **read)], taken_s=engine.now_s)
        publication, memory = decide(snapshot, catalog, memory, report=REPORT)
    assert publication.details["input.waiting_requests"].tolist() == [capacity]
    assert (publication.values["wva_desired_replicas"][0] > 1.0) == more
