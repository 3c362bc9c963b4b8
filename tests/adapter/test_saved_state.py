"""What survives a restart, and what a decision makes of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.codec import CodecError, pack
from adapter.decide import DecisionMemory, decide
from adapter.edition import Edition
from adapter.records import Freshness, TickReport
from adapter.saved_state import (
    Moment,
    aged_publication,
    encode_state,
    read_state,
    recalled,
)
from tests.helpers.publications import publication_of
from tests.helpers.snapshots import catalog_of, replica, snapshot_of

REPORT = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)
HERE = Moment(boot_id="a", monotonic_s=500.0, unix_s=1.8e9)
SETTINGS = """
down_window_s: 10
brakes: {warm_up_s: 0, max_scale_up_factor: 100, max_scale_down_ratio: 1.0}
accelerators: {H100: {cost_per_hour: 4.0}}
service_classes: {chat: {slo: {ttft_ms: 1000, itl_ms: 50}}}
models:
  m:
    service_class: chat
    profiles: {H100: {alpha_ms: 22, beta_ms: 0.06, gamma_ms: 0.0002, max_batch_size: 128}}
  other: {}
variants:
  - {name: a, model: m, accelerator: H100, max_replicas: 20}
  - {name: b, model: other, accelerator: H100}
"""
BUSY = {"prompt_tokens_mean": 1000.0, "prompt_tokens_second_moment": 2e6}


@pytest.fixture
def catalog():
    return catalog_of(SETTINGS)


def loaded(*, rate_rps: float, replicas: int = 2) -> list[dict]:
    return [
        replica(
            0,
            f"a{i}",
            completion_rate_rps=rate_rps / replicas,
            mean_running_requests=2.0 * rate_rps / replicas,
            **BUSY,
        )
        for i in range(replicas)
    ] + [replica(1, "b0")]


def unread(replicas: int = 2) -> list[dict]:
    return [replica(0, f"new{i}", age_s=None) for i in range(replicas)] + [replica(1, "b0")]


def run(catalog, memory, ticks, *, start_s=1000.0):
    publication = None
    for number, replicas in enumerate(ticks):
        snapshot = snapshot_of(catalog, replicas, taken_s=start_s + 5.0 * number)
        publication, memory = decide(snapshot, catalog, memory, report=REPORT)
    return publication, memory


def desired(publication):
    return publication.values["wva_desired_replicas"].tolist()


def saved(publication, memory, *, decision_s, at=HERE):
    return read_state(encode_state(publication, memory, decision_s=decision_s, saved=at))


def read_whole(data):
    state = read_state(data)
    return state.publication(), state.memory()


def test_everything_in_the_memory_and_the_publication_is_read_back(catalog):
    publication, memory = run(catalog, DecisionMemory.empty(), [loaded(rate_rps=30.0)] * 3)
    state = saved(publication, memory, decision_s=1010.0)
    # Packing is a function of the content: equal bytes are equal records.
    assert pack(state.publication()) == pack(publication)
    assert pack(state.memory()) == pack(memory)


def test_the_same_decisions_follow_as_without_the_restart(catalog):
    ticks = [loaded(rate_rps=30.0)] * 4
    publication, memory = run(catalog, DecisionMemory.empty(), ticks)
    resumed, gap = recalled(saved(publication, memory, decision_s=1015.0), decision_s=1016.0)
    assert gap == ""
    straight, _ = run(catalog, memory, [loaded(rate_rps=60.0, replicas=4)], start_s=1020.0)
    after, _ = run(catalog, resumed, [loaded(rate_rps=60.0, replicas=4)], start_s=1020.0)
    assert desired(after) == desired(straight)
    assert after.sequence == straight.sequence


def test_nothing_falls_while_the_new_process_has_read_nothing(catalog):
    before, memory = run(catalog, DecisionMemory.empty(), [loaded(rate_rps=90.0)] * 3)
    assert desired(before)[0] > 2  # HPA has not acted on it yet
    resumed, _ = recalled(saved(before, memory, decision_s=1010.0), decision_s=1011.0)
    after, _ = run(catalog, resumed, [unread()], start_s=1110.0)
    assert desired(after)[0] == desired(before)[0]
    # Held by the age of the readings before, not refused as never read.
    assert after.reading_age_s[0] == pytest.approx(100.5)
    assert Edition(after, received_s=0.0, sequence=1).freshness(0, 0.0) is Freshness.HELD


def test_counts_fall_again_once_it_has_watched_for_as_long_as_decisions_look_back(catalog):
    before, memory = run(catalog, DecisionMemory.empty(), [loaded(rate_rps=90.0)] * 3)
    resumed, _ = recalled(saved(before, memory, decision_s=1010.0), decision_s=1011.0)
    counts, brakes = [], []
    for number in range(60):
        snapshot = snapshot_of(catalog, loaded(rate_rps=0.1), taken_s=1012.0 + 5.0 * number)
        publication, resumed = decide(snapshot, catalog, resumed, report=REPORT)
        counts.append(desired(publication)[0])
        brakes.append(publication.texts["brake"][0])
    # The plan holds the count itself while the load settles; then the brake does.
    assert "Restart" in brakes[:4]
    # The scrape window of 20 s is longer than down_window_s here.
    assert counts[:4] == [desired(before)[0]] * 4
    assert counts[-1] < desired(before)[0]


@pytest.mark.parametrize("gap_s", [0.0, 3.0, 45.0, 3600.0])
@pytest.mark.parametrize("rate_rps", [0.0, 5.0, 90.0])
def test_no_first_tick_after_a_restart_lowers_a_count(catalog, gap_s, rate_rps):
    before, memory = run(catalog, DecisionMemory.empty(), [loaded(rate_rps=90.0)] * 3)
    resumed, _ = recalled(saved(before, memory, decision_s=1010.0), decision_s=1011.0)
    after, _ = run(catalog, resumed, [loaded(rate_rps=rate_rps)], start_s=1010.0 + gap_s)
    assert np.all(np.array(desired(after)) >= np.array(desired(before)))


def test_a_limit_that_was_lowered_meanwhile_holds(catalog):
    before, memory = run(catalog, DecisionMemory.empty(), [loaded(rate_rps=900.0)] * 3)
    resumed, _ = recalled(saved(before, memory, decision_s=1010.0), decision_s=1011.0)
    lower = catalog_of(SETTINGS.replace("max_replicas: 20", "max_replicas: 3"))
    after, _ = run(lower, resumed, [unread()], start_s=1012.0)
    assert desired(after)[0] <= 3 + lower.settings.max_nudge_replicas


def test_a_restart_is_not_taken_for_time_that_was_watched(catalog):
    warming = catalog_of(SETTINGS.replace("warm_up_s: 0", "warm_up_s: 600"))
    before, memory = run(warming, DecisionMemory.empty(), [loaded(rate_rps=9.0)] * 3)
    resumed, _ = recalled(saved(before, memory, decision_s=1010.0), decision_s=4608.0)
    _, after = run(warming, resumed, [loaded(rate_rps=9.0)] * 2, start_s=4610.0)
    assert after.guard.complete_s.tolist() == [17.0, 17.0]


def test_memory_that_cannot_be_used_is_begun_anew_and_the_counts_stay(catalog):
    before, memory = run(catalog, DecisionMemory.empty(), [loaded(rate_rps=90.0)] * 3)
    state = replace(saved(before, memory, decision_s=1010.0), memory_part=b"WVA1 nonsense")
    resumed, gap = recalled(state, decision_s=1011.0)
    assert "damaged" in gap
    after, _ = run(catalog, resumed, [unread()], start_s=1012.0)
    assert desired(after)[0] == desired(before)[0]
    assert after.sequence == before.sequence + 1


class TestAge:
    def test_on_the_same_machine_the_monotonic_clock_tells_it(self, catalog):
        state = saved(*run(catalog, DecisionMemory.empty(), [unread()]), decision_s=0.0)
        now = Moment(boot_id="a", monotonic_s=507.0, unix_s=0.0)
        assert state.stamp.age_s(now, kept_age_s=99.0) == 7.0

    def test_elsewhere_whoever_kept_it_tells_it(self, catalog):
        state = saved(*run(catalog, DecisionMemory.empty(), [unread()]), decision_s=0.0)
        now = Moment(boot_id="b", monotonic_s=3.0, unix_s=HERE.unix_s - 300.0)
        assert state.stamp.age_s(now, kept_age_s=12.0) == 12.0

    @pytest.mark.parametrize(("ahead_s", "age_s"), [(40.0, 40.0), (-300.0, 0.0)])
    def test_else_the_wall_clocks_which_never_make_it_younger_than_nothing(
        self, catalog, ahead_s, age_s
    ):
        state = saved(*run(catalog, DecisionMemory.empty(), [unread()]), decision_s=0.0)
        now = Moment(boot_id="", monotonic_s=3.0, unix_s=HERE.unix_s + ahead_s)
        assert state.stamp.age_s(now) == age_s


class TestAgedPublication:
    def test_a_restored_one_is_held_however_young_it_is(self):
        restored = aged_publication(
            publication_of({"lab/a": 2.0}, current=5.0, age_s=1.0), 2.0, restored=True
        )
        edition = Edition(restored, received_s=100.0, sequence=1)
        assert edition.freshness(0, 100.0) is Freshness.HELD
        assert edition.value("wva_desired_replicas", 0, 100.0) == 5.0
        assert "restored after a restart" in restored.message[0]

    def test_a_restored_one_is_refused_when_its_own_age_says_so(self):
        restored = aged_publication(publication_of({"lab/a": 2.0}), 640.0, restored=True)
        assert Edition(restored, received_s=0.0, sequence=1).freshness(0, 0.0) is Freshness.REFUSED

    def test_one_from_the_leader_only_ages(self):
        passed_on = aged_publication(publication_of({"lab/a": 2.0}, age_s=1.0), 2.0, restored=False)
        assert passed_on.reading_age_s.tolist() == [3.0]
        assert passed_on.message == ("",)


class TestWhatIsRefused:
    @given(st.binary(max_size=60))
    def test_noise(self, noise):
        with pytest.raises(CodecError):
            read_state(noise)

    @given(st.data())
    def test_any_damaged_byte(self, data):
        publication = publication_of({"lab/a": 2.0, "lab/b": 3.0})
        whole = bytearray(
            encode_state(publication, DecisionMemory.empty(), decision_s=1.0, saved=HERE)
        )
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] ^= data.draw(st.integers(1, 255))
        with pytest.raises(CodecError):
            read_whole(bytes(whole))

    def test_another_version(self):
        state = encode_state(
            publication_of({"lab/a": 2.0}), DecisionMemory.empty(), decision_s=1.0, saved=HERE
        )
        _, first, *_ = (int.from_bytes(state[i : i + 4]) for i in (0, 4, 8, 12))
        later = pack(replace(read_state(state).stamp, version=99))
        forged = state[:4] + len(later).to_bytes(4) + state[8:16] + later
        with pytest.raises(CodecError, match="version 99"):
            read_state(forged + state[16 + first :])

    def test_columns_of_another_length(self):
        publication = replace(publication_of({"lab/a": 2.0}), held_values=np.zeros(2))
        state = saved(publication, DecisionMemory.empty(), decision_s=1.0)
        with pytest.raises(CodecError, match="other lengths"):
            state.publication()


def test_the_digest_of_decisions_follows_the_counts_alone():
    def digest(publication):
        return saved(publication, DecisionMemory.empty(), decision_s=1.0).stamp.decisions

    one = publication_of({"lab/a": 2.0})
    assert digest(one) == digest(replace(one, sequence=9, published_unix_s=2e9))
    assert digest(one) != digest(publication_of({"lab/a": 3.0}))
    assert digest(one) != digest(publication_of({"lab/b": 2.0}))
