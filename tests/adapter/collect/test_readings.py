"""Readings of replicas and variants from columns of targets."""

import numpy as np
import pytest

from adapter.collect.binding import Binding, bind
from adapter.collect.dialects import load_dialects, wanted_names
from adapter.collect.engines import EngineTable
from adapter.collect.exposition import ExpositionReader
from adapter.collect.increments import CounterMemory
from adapter.collect.readings import replica_readings, variant_readings
from adapter.collect.targets import Targets
from adapter.demand import replica_offered_rate_rps
from adapter.records import REPLICA_SIGNALS, VARIANT_SIGNALS, Missing, Reason

from .engines_of import Engine

M = 'model_name="llama-3.1-8b"'
TTFT = (0.1, 0.2, 0.4, 0.8)


def page(
    *,
    running: float = 2,
    waiting: float = 0,
    kv: float = 0.1,
    done: float = 0,
    turned_away: float = 0,
    answered: float | None = None,
    ttft: tuple[float, ...] = (),
    prompts: tuple[float, ...] = (),
) -> str:
    lines = [
        f'vllm:num_requests_running{{engine="0",{M}}} {running}',
        f'vllm:num_requests_waiting{{engine="0",{M}}} {waiting}',
        f'vllm:kv_cache_usage_perc{{engine="0",{M}}} {kv}',
        f'vllm:request_success_total{{engine="0",{M}}} {done}',
        f"vllm:admission_rejections_total{{{M}}} {turned_away}",
    ]
    if answered is not None:
        where = 'handler="/v1/chat/completions",method="POST",status="2xx"'
        lines.append(f"http_requests_total{{{where}}} {answered}")
    for name, values, bounds in (
        ("time_to_first_token_seconds", ttft, TTFT),
        ("request_prompt_tokens", prompts, (100, 200, 500, 1000)),
    ):
        for le in (*bounds, float("inf")):
            text = "+Inf" if le == float("inf") else le
            count = sum(value <= le for value in values)
            lines.append(f'vllm:{name}_bucket{{{M},le="{text}"}} {count}')
        lines += [
            f"vllm:{name}_sum{{{M}}} {sum(values)}",
            f"vllm:{name}_count{{{M}}} {len(values)}",
        ]
    return "\n".join([*lines, ""])


class Fleet:
    """Several targets, read page by page."""

    def __init__(self, count: int) -> None:
        self.dialects = load_dialects()
        names, facts = wanted_names(self.dialects)
        self.reader = ExpositionReader(names, facts=facts)
        self.table = EngineTable(60.0)
        self.rows = np.array([self.table.add() for _ in range(count)])
        self.memories = [CounterMemory() for _ in range(count)]
        self.now_s = 0.0

    def read(self, *pages: str | None, after_s: float = 10.0) -> None:
        self.now_s += after_s
        self.table.turn(self.now_s)
        for row, memory, text in zip(self.rows, self.memories, pages, strict=True):
            if text is None:
                continue
            found = self.reader.read(text.encode(), layout=memory.layout)
            binding = bind(found, self.dialects, frozenset({"llama-3.1-8b"}))
            assert isinstance(binding, Binding)
            self.table.observe(int(row), memory, binding, found, now_s=self.now_s)

    def targets(self, group: list[int], groups: int, unread: list[Reason] | None = None) -> Targets:
        why = unread or [Reason.PRESENT] * len(group)
        return Targets(
            row=self.rows,
            group=np.array(group),
            groups=groups,
            unread=np.array(why, dtype=np.uint8),
        )


def test_every_signal_of_the_contract_is_there() -> None:
    fleet = Fleet(1)
    fleet.read(page())
    assert tuple(replica_readings(fleet.table, fleet.targets([0], 1))) == REPLICA_SIGNALS
    assert tuple(variant_readings(fleet.table, fleet.targets([0], 1))) == VARIANT_SIGNALS


def test_values_are_nan_exactly_where_a_reason_says_why() -> None:
    fleet = Fleet(3)
    fleet.read(page(), page(), None)
    fleet.read(page(done=5), None, None)
    unread = [Reason.PRESENT, Reason.PRESENT, Reason.TIMEOUT]
    replicas = replica_readings(fleet.table, fleet.targets([0, 1, 2], 4, unread))
    variants = variant_readings(fleet.table, fleet.targets([0, 0, 1], 3, unread))
    for readings in (*replicas.values(), *variants.values()):
        np.testing.assert_array_equal(np.isnan(readings.values), ~readings.present)
    assert replicas["running_requests"][2] == Missing(Reason.TIMEOUT)
    assert replicas["running_requests"][3] == Missing(Reason.NOT_READ_YET)


def test_ranks_of_a_replica_add_up_and_the_worst_kv_counts() -> None:
    fleet = Fleet(2)
    fleet.read(page(running=2, kv=0.2, done=0), page(running=3, kv=0.7, done=0))
    fleet.read(page(running=4, kv=0.3, done=10), page(running=1, kv=0.6, done=30))
    found = replica_readings(fleet.table, fleet.targets([0, 0], 1))
    assert found["running_requests"][0] == 5.0
    assert found["kv_usage_ratio"][0] == 0.6
    assert found["completion_rate_rps"][0] == pytest.approx(4.0)
    assert found["mean_running_requests"][0] == pytest.approx(5.0)
    assert found["mean_kv_usage_ratio"][0] == pytest.approx(0.65)


def test_a_replica_of_which_one_rank_is_silent_is_silent() -> None:
    fleet = Fleet(2)
    fleet.read(page(), page())
    unread = [Reason.PRESENT, Reason.UNREACHABLE]
    found = replica_readings(fleet.table, fleet.targets([0, 0], 1, unread))
    assert found["running_requests"][0] == Missing(Reason.UNREACHABLE)


def test_a_variants_percentiles_are_over_all_its_replicas() -> None:
    fleet = Fleet(2)
    fleet.read(page(), page())
    fleet.read(page(ttft=(0.15,) * 90), page(ttft=(0.3,) * 10))
    found = variant_readings(fleet.table, fleet.targets([0, 0], 1))
    assert found["ttft_mean_s"][0] == pytest.approx((0.15 * 90 + 0.3 * 10) / 100)
    assert 0.1 < found["ttft_p50_s"][0] < 0.2
    assert 0.2 < found["ttft_p95_s"][0] < 0.4
    # The mean of the replicas' own would be 0.275.
    assert found["ttft_p90_s"][0] == pytest.approx(0.2)


def test_a_variant_is_read_from_whoever_can_be_read() -> None:
    fleet = Fleet(2)
    fleet.read(page(), page())
    fleet.read(page(ttft=(0.15,) * 10), None)
    unread = [Reason.PRESENT, Reason.TIMEOUT]
    found = variant_readings(fleet.table, fleet.targets([0, 0], 1, unread))
    assert found["ttft_mean_s"][0] == pytest.approx(0.15)


def test_a_variant_of_which_nobody_can_be_read_says_why() -> None:
    fleet = Fleet(1)
    fleet.read(page())
    found = variant_readings(fleet.table, fleet.targets([0], 2, [Reason.HTTP_STATUS]))
    assert found["ttft_mean_s"][0] == Missing(Reason.HTTP_STATUS)
    assert found["ttft_mean_s"][1] == Missing(Reason.NOT_READ_YET)


def test_no_traffic_is_no_mean_but_a_rate_of_zero() -> None:
    fleet = Fleet(1)
    fleet.read(page(done=7))
    fleet.read(page(done=7))
    found = replica_readings(fleet.table, fleet.targets([0], 1))
    assert found["completion_rate_rps"][0] == 0.0
    assert found["ttft_mean_s"][0] == Missing(Reason.NO_EVENTS)
    assert found["prompt_tokens_second_moment"][0] == Missing(Reason.NO_EVENTS)


def test_one_scrape_is_no_rate() -> None:
    fleet = Fleet(1)
    fleet.read(page(done=1000))
    found = replica_readings(fleet.table, fleet.targets([0], 1))
    assert found["completion_rate_rps"][0] == Missing(Reason.ONE_SCRAPE)
    assert found["running_requests"][0] == 2.0


def test_a_pod_that_comes_anew_starts_with_an_empty_window() -> None:
    fleet = Fleet(1)
    fleet.read(page(done=0))
    fleet.read(page(done=100))
    fleet.table.remove(int(fleet.rows[0]))
    assert fleet.table.add() == fleet.rows[0]
    fleet.memories = [CounterMemory()]
    fleet.read(page(done=5))
    fleet.read(page(done=15))
    found = replica_readings(fleet.table, fleet.targets([0], 1))
    assert found["completion_rate_rps"][0] == pytest.approx(1.0)


def test_a_restart_counts_what_the_new_process_did_and_lost_nothing_twice() -> None:
    fleet = Fleet(1)
    fleet.read(page(done=1000, running=30))
    fleet.read(page(done=1100, running=30))
    fleet.read(page(done=20, running=10))  # a new process: 30 in flight are lost
    found = replica_readings(fleet.table, fleet.targets([0], 1))
    assert found["completion_rate_rps"][0] == pytest.approx((100 + 20) / 20.0)
    # 20 finished and 10 in flight since the restart: 30 arrived.
    assert found["inflight_slope_rps"][0] == pytest.approx(10 / 20.0)


def test_second_moments_follow_the_window() -> None:
    fleet = Fleet(1)
    fleet.read(page(prompts=(900.0,) * 50))
    fleet.read(page(prompts=(900.0,) * 50 + (150.0,) * 40))
    found = replica_readings(fleet.table, fleet.targets([0], 1))
    assert found["prompt_tokens_mean"][0] == pytest.approx(150.0)
    assert found["prompt_tokens_second_moment"][0] == pytest.approx(150.0**2, rel=0.1)


def offered(fleet: Fleet) -> float:
    found = replica_readings(fleet.table, fleet.targets([0], 1))
    rate = replica_offered_rate_rps(
        arrivals=found["arrival_rate_rps"],
        completions=found["completion_rate_rps"],
        inflight_slope=found["inflight_slope_rps"],
        rejections=found["rejection_rate_rps"],
    )
    return float(rate.values[0])


@pytest.mark.parametrize("queue_limit", [50, 200, 10_000])
def test_three_times_overload_is_seen_within_a_tenth(queue_limit: int) -> None:
    # Capacity 10 requests/s, 30 offered: the queue fills to its limit, the rest is refused.
    rng = np.random.default_rng(3)
    fleet = Fleet(1)
    waiting, done, refused, step_s = 0, 0, 0, 5.0
    for _ in range(16):
        arrived = int(rng.poisson(30.0 * step_s))
        served = min(waiting + arrived, int(rng.poisson(10.0 * step_s)))
        done += served
        waiting += arrived - served
        refused += max(0, waiting - queue_limit)
        waiting = min(waiting, queue_limit)
        text = page(running=10, waiting=waiting, done=done, turned_away=refused)
        fleet.read(text, after_s=step_s)
    assert offered(fleet) == pytest.approx(30.0, rel=0.1)


@pytest.mark.parametrize("patience_s", [5, 15, 60])
def test_clients_that_give_up_are_demand_too(patience_s: int) -> None:
    # vLLM counts nothing of a request whose client hangs up; the server in front of it does.
    rng = np.random.default_rng(3)
    fleet = Fleet(1)
    queue, done, answered, step_s = [], 0, 0, 5
    for second in range(150):
        queue += [second] * int(rng.poisson(30.0))
        served = min(len(queue), int(rng.poisson(10.0)))
        done += served
        waits = [since for since in queue[served:] if second - since < patience_s]
        answered += len(queue) - len(waits)
        queue = waits
        if second % step_s == 0:
            text = page(running=10, waiting=len(queue), done=done, answered=answered)
            fleet.read(text, after_s=step_s)
    assert offered(fleet) == pytest.approx(30.0, rel=0.1)


def test_what_a_server_answers_for_several_models_is_not_one_model_s() -> None:
    other = 'vllm:request_success_total{engine="0",model_name="another"} 0\n'
    engine = Engine().read(page(done=10, answered=50) + other)
    engine.read(page(done=30, answered=500) + other)
    assert engine.replica["completion_rate_rps"] == pytest.approx(2.0)


def test_an_engine_changes_its_buckets_on_an_upgrade() -> None:
    engine = Engine().read(page(ttft=(0.15,) * 5)).read(page(ttft=(0.15,) * 10))
    other = page(ttft=(0.15,) * 2).replace('le="0.8"', 'le="0.9"')
    engine.read(other).read(other.replace("_count{", "_count{"))
    assert engine.variant["ttft_p50_s"] != Missing(Reason.NOT_EXPORTED)


def decoding_page(*, steps: int, tokens: int, seconds: float, drafts: int | None) -> str:
    """What vLLM says after so many steps of ten requests: ITL counts steps, not tokens."""
    lines = [
        page(ttft=(0.15,) * 10 if steps else ()),
        f"vllm:generation_tokens_total{{{M}}} {tokens}",
        f"vllm:inter_token_latency_seconds_sum{{{M}}} {seconds}",
        f"vllm:inter_token_latency_seconds_count{{{M}}} {steps}",
        f'vllm:inter_token_latency_seconds_bucket{{{M},le="+Inf"}} {steps}',
    ]
    if drafts is not None:
        lines.append(f"vllm:spec_decode_num_drafts_total{{{M}}} {drafts}")
    return "\n".join([*lines, ""])


@pytest.mark.parametrize(
    ("drafts", "tokens", "gap_s"),
    [
        pytest.param(None, 1010, 0.02, id="no speculative decoding"),
        pytest.param(0, 1010, 0.02, id="on, and nothing drafted"),
        pytest.param(1000, 2510, 0.008, id="2.5 tokens per step"),
        pytest.param(1000, 1010, 0.02, id="every draft rejected"),
    ],
)
def test_the_gap_is_per_token_whatever_a_step_gives(drafts, tokens, gap_s) -> None:
    fleet = Fleet(1)
    fleet.read(decoding_page(steps=0, tokens=0, seconds=0.0, drafts=None if drafts is None else 0))
    fleet.read(decoding_page(steps=1000, tokens=tokens, seconds=20.0, drafts=drafts))
    targets = fleet.targets([0], 1)
    assert replica_readings(fleet.table, targets)["itl_mean_s"][0] == pytest.approx(gap_s)
    assert variant_readings(fleet.table, targets)["itl_mean_s"][0] == pytest.approx(gap_s)


@pytest.mark.parametrize(
    ("by_reason", "waiting"),
    [
        pytest.param({}, 9.0, id="an engine that tells no reasons"),
        pytest.param({"capacity": 0, "deferred": 9}, 0.0, id="all wait for an adapter"),
        pytest.param({"capacity": 6, "deferred": 3}, 6.0, id="some do"),
    ],
)
def test_requests_that_wait_for_an_adapters_slot_are_no_queue(by_reason, waiting) -> None:
    lines = [
        f'vllm:num_requests_waiting_by_reason{{engine="0",{M},reason="{reason}"}} {count}'
        for reason, count in by_reason.items()
    ]
    fleet = Fleet(1)
    fleet.read("\n".join([page(waiting=9), *lines, ""]))
    found = replica_readings(fleet.table, fleet.targets([0], 1))
    assert found["waiting_requests"][0] == waiting
