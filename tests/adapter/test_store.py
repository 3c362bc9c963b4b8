import asyncio
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import NoMatchError, StalePublicationError, UnknownMetricError
from adapter.publish import SERVED_METRICS
from adapter.records import Freshness, Reason, SourceFault
from adapter.store import Store
from tests.helpers.clocks import ManualClock
from tests.helpers.publications import publication_of, report_of

DESIRED = "wva_desired_replicas"


def store_of(publication=None, *, clock=None) -> tuple[Store, ManualClock]:
    clock = clock or ManualClock()
    store = Store(clock, metrics=SERVED_METRICS)
    if publication is not None:
        store.swap(publication, received_s=clock.monotonic_s())
    return store, clock


class TestRead:
    def test_returns_the_decision_of_one_variant(self):
        store, _ = store_of(publication_of({"lab/a": 3, "lab/b": 5, "other/a": 7}))
        assert store.read("lab", DESIRED, "a") == 3
        assert store.read("lab", DESIRED, "b") == 5
        assert store.read("other", DESIRED, "a") == 7

    @pytest.mark.parametrize(
        "name", ["WVA_Desired_Replicas", "wva_desired_replicas", DESIRED.upper()]
    )
    def test_metric_names_match_in_any_case(self, name):
        store, _ = store_of(publication_of({"lab/a": 3}))
        assert store.read("lab", name, "a") == 3

    def test_an_unknown_metric_is_told_from_the_start_with_the_known_ones(self):
        store, _ = store_of()
        with pytest.raises(UnknownMetricError, match=r"'m1'.*'lab'.*wva_desired_replicas"):
            store.read("lab", "m1", "a")

    def test_before_the_first_publication_everything_is_refused(self):
        store, clock = store_of()
        clock.advance(12)
        with pytest.raises(
            StalePublicationError, match=r"no decision .* 12 s, since 2027-01-15T08:16:40Z"
        ):
            store.read("lab", DESIRED, "a")

    def test_an_unknown_variant_names_those_of_its_namespace_and_no_other(self):
        store, _ = store_of(publication_of({"lab/a": 3, "lab/b": 1, "secret/c": 1}))
        with pytest.raises(NoMatchError, match=r"'x' in namespace 'lab', which has 2: a, b$"):
            store.read("lab", DESIRED, "x")

    def test_an_empty_namespace_says_how_to_fill_it(self):
        store, _ = store_of(publication_of({"lab/a": 3}))
        with pytest.raises(NoMatchError, match="none: declare one in the settings"):
            store.read("empty", DESIRED, "a")

    def test_a_long_list_of_variants_is_cut(self):
        store, _ = store_of(publication_of({f"lab/v{i:02}": 1 for i in range(30)}))
        with pytest.raises(NoMatchError, match=r"30: v00, .*v09, \.\.\.$"):
            store.read("lab", DESIRED, "x")

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            pytest.param(math.nan, "has no value: 1 of 2 replicas silent", id="nan-is-absent"),
            pytest.param(-1.0, r"the value -1.0 is outside 0 to 9.2e\+15", id="negative"),
            pytest.param(1e16, r"the value 1e\+16 is outside", id="overflows-hpa"),
            pytest.param(math.inf, "has no value", id="infinite"),
        ],
    )
    def test_what_hpa_would_misread_is_refused(self, value, message):
        store, _ = store_of(publication_of({"lab/a": value}, message="1 of 2 replicas silent"))
        with pytest.raises(StalePublicationError, match=message):
            store.read("lab", DESIRED, "a")

    def test_a_metric_that_the_publication_lacks_is_absent_not_zero(self):
        publication = publication_of({"lab/a": 3})
        del publication.values["wva_utilization"]
        store, _ = store_of(publication)
        with pytest.raises(StalePublicationError, match="has no value: this decision has none"):
            store.read("lab", "wva_utilization", "a")


class TestAge:
    """A reading that is `age_s` old when published ages on from its receipt."""

    @pytest.mark.parametrize(
        ("age_s", "advance_s", "state"),
        [
            pytest.param(1.0, 0.0, Freshness.FRESH, id="fresh"),
            pytest.param(1.0, 29.0, Freshness.FRESH, id="fresh-to-the-limit"),
            pytest.param(1.0, 29.1, Freshness.HELD, id="held-past-it"),
            pytest.param(31.0, 0.0, Freshness.HELD, id="held-when-published"),
            pytest.param(1.0, 629.0, Freshness.HELD, id="held-to-the-limit"),
            pytest.param(1.0, 629.1, Freshness.REFUSED, id="refused-past-it"),
            pytest.param(math.inf, 0.0, Freshness.REFUSED, id="never-read"),
            pytest.param(math.nan, 0.0, Freshness.REFUSED, id="unknown-is-never-read"),
        ],
    )
    def test_states(self, age_s, advance_s, state):
        store, clock = store_of(publication_of({"lab/a": 3}, age_s=age_s))
        clock.advance(advance_s)
        assert store.current().freshness(0, clock.monotonic_s()) is state

    def test_time_on_the_way_counts(self):
        clock = ManualClock()
        store = Store(clock, metrics=SERVED_METRICS)
        store.swap(publication_of({"lab/a": 3}), received_s=clock.monotonic_s() - 40)
        assert store.current().freshness(0, clock.monotonic_s()) is Freshness.HELD
        assert store.current().age_s(0, clock.monotonic_s()) == 41

    def test_a_held_count_does_not_fall(self):
        store, clock = store_of(publication_of({"lab/a": 1}, current=4))
        assert store.read("lab", DESIRED, "a") == 1
        clock.advance(60)
        assert store.read("lab", DESIRED, "a") == 4
        clock.advance(600)
        with pytest.raises(StalePublicationError):
            store.read("lab", DESIRED, "a")

    @pytest.mark.parametrize("metric", ["wva_desired_ratio", "wva_utilization"])
    def test_relative_figures_are_refused_rather_than_held(self, metric):
        """HPA would apply an old ratio again at every sync."""
        publication = publication_of({"lab/a": 1}, current=4)
        publication.values["wva_utilization"] = np.array([0.4])
        store, clock = store_of(publication)
        assert store.read("lab", metric, "a") > 0
        clock.advance(60)
        with pytest.raises(
            StalePublicationError, match=r"61 s old, above the limit of 30 s \(max_dec"
        ):
            store.read("lab", metric, "a")

    def test_a_refusal_names_age_limit_and_the_silent_loop(self):
        store, clock = store_of(publication_of({"lab/a": 3}))
        clock.advance(700)
        with pytest.raises(StalePublicationError) as caught:
            store.read("lab", DESIRED, "a")
        assert str(caught.value) == (
            "wva_desired_replicas of variant lab/a is refused: it rests on readings of "
            "2027-01-15T07:59:59Z, 701 s old, above the limit of 30 s (max_decision_age_s) + "
            "600 s (hold_s); the decision loop has published nothing for 700 s, since "
            "2027-01-15T08:00:00Z"
        )

    @pytest.mark.parametrize(
        ("given_", "source"),
        [
            pytest.param(
                {"message": "2 of 2 replicas silent: http://e:8000 (Timeout, last read 700 s ago)"},
                "2 of 2 replicas silent: http://e:8000",
                id="the-variant's-message",
            ),
            pytest.param(
                {
                    "report": report_of(
                        faults=(
                            SourceFault(
                                source="prometheus",
                                reason=Reason.UNREACHABLE,
                                message="connection refused",
                                since_s=0.0,
                            ),
                        )
                    )
                },
                "prometheus: connection refused",
                id="the-tick's-fault",
            ),
            pytest.param({}, "its source has not answered since", id="nothing-known"),
        ],
    )
    def test_a_refusal_names_the_source_while_the_loop_lives(self, given_, source):
        store, _ = store_of(publication_of({"lab/a": 3}, age_s=700.0, **given_))
        with pytest.raises(StalePublicationError, match=source):
            store.read("lab", DESIRED, "a")

    def test_a_new_publication_ends_a_refusal(self):
        store, clock = store_of(publication_of({"lab/a": 3}))
        clock.advance(1000)
        store.swap(publication_of({"lab/a": 4}), received_s=clock.monotonic_s())
        assert store.read("lab", DESIRED, "a") == 4

    def test_ages_are_per_variant(self):
        publication = publication_of({"lab/a": 3, "lab/b": 3})
        publication.reading_age_s[1] = 700.0
        store, _ = store_of(publication)
        assert store.read("lab", DESIRED, "a") == 3
        with pytest.raises(StalePublicationError):
            store.read("lab", DESIRED, "b")

    @given(
        age_s=st.floats(0, 2000, allow_subnormal=False),
        waits_s=st.lists(st.floats(0, 500, allow_subnormal=False), max_size=6),
        desired=st.integers(0, 100),
        current=st.integers(0, 100),
    )
    def test_it_only_gets_staler_and_never_falls_below_the_decision(
        self, age_s, waits_s, desired, current
    ):
        store, clock = store_of(publication_of({"lab/a": desired}, current=current, age_s=age_s))
        edition = store.current()
        state = Freshness.FRESH
        for wait_s in waits_s:
            clock.advance(wait_s)
            now_s = clock.monotonic_s()
            assert edition.freshness(0, now_s) >= state
            state = edition.freshness(0, now_s)
            served = edition.served(DESIRED, 0, now_s)
            assert (served is None) == (state is Freshness.REFUSED)
            assert served is None or served >= desired
            # Until the instant that it names, nothing changes.
            until_s = edition.valid_until_s([0], now_s)
            assert until_s >= now_s
            if math.isfinite(until_s):
                assert edition.freshness(0, until_s) is state


class TestWaiting:
    async def test_every_waiter_is_woken_by_a_swap(self):
        store, clock = store_of()
        async with asyncio.TaskGroup() as group:
            waiters = [group.create_task(store.changed(0)) for _ in range(200)]
            await asyncio.sleep(0)
            assert not any(waiter.done() for waiter in waiters)
            store.swap(publication_of({"lab/a": 3}), received_s=clock.monotonic_s())
        assert [waiter.result() for waiter in waiters] == [1] * 200

    async def test_what_came_meanwhile_is_seen_at_once_and_once(self):
        store, clock = store_of()
        for _ in range(3):
            store.swap(publication_of({"lab/a": 3}), received_s=clock.monotonic_s())
        assert await store.changed(0) == 3
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.changed(3), 0.01)

    async def test_a_loop_that_starts_its_count_again_is_a_change(self):
        store, clock = store_of(publication_of({"lab/a": 3}, sequence=900))
        waiting = asyncio.ensure_future(store.changed(store.sequence))
        await asyncio.sleep(0)
        store.swap(publication_of({"lab/a": 4}, sequence=1), received_s=clock.monotonic_s())
        assert await waiting == 2

    async def test_a_waiter_that_gives_up_leaves_the_others_waiting(self):
        store, clock = store_of()
        one, other = (asyncio.ensure_future(store.changed(0)) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.sleep(0)
        assert one.cancelled()
        assert not other.done()
        store.swap(publication_of({"lab/a": 3}), received_s=clock.monotonic_s())
        assert await other == 1


def test_namespaces_and_rows_are_indexed():
    store, _ = store_of(publication_of({"b/x": 1, "a/y": 2, "b/z": 3}))
    edition = store.current()
    assert edition.namespaces == ("a", "b")
    assert list(edition.rows("b")) == [0, 2]
    assert list(edition.rows("none")) == []
    assert edition.row("a", "y") == 1
    assert edition.row("a", "x") is None
