import gzip
import json

import pytest

from adapter.errors import BadSelectorError, NoMatchError, StalePublicationError, UnknownMetricError
from adapter.external_metrics import answers as module
from adapter.external_metrics.answers import Answers
from adapter.external_metrics.wire import LIST_FORMS
from adapter.publish import SERVED_METRICS
from adapter.store import Store
from tests.helpers.clocks import ManualClock
from tests.helpers.publications import publication_of

LIST, TABLE, _ = LIST_FORMS
DESIRED = "wva_desired_replicas"


class World:
    def __init__(self, desired: dict[str, float], **changes) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock, metrics=SERVED_METRICS)
        self.answers = Answers(self.store, clock=self.clock)
        self.publish(desired, **changes)

    def publish(self, desired, **changes) -> None:
        publication = publication_of(desired, **changes)
        self.store.swap(publication, received_s=self.clock.monotonic_s())

    def items(self, selector: str = "", *, namespace="lab", metric=DESIRED) -> dict[str, str]:
        body = self.answers.answer(LIST, namespace, metric, selector).body
        return {
            item["metricLabels"]["variant_name"]: item["value"]
            for item in json.loads(body)["items"]
        }

    def rows(self) -> list[list[str]]:
        body = self.answers.answer(TABLE, "lab", DESIRED, "").body
        return [row["cells"] for row in json.loads(body)["rows"]]


FLEET = {"lab/a": 3, "lab/b": 2.5, "other/c": 7}


@pytest.mark.parametrize(
    ("selector", "items"),
    [
        pytest.param("", {"a": "3", "b": "2500m"}, id="all-of-the-namespace"),
        pytest.param("variant_name=a", {"a": "3"}, id="by-the-index"),
        pytest.param("variant_name=a,accelerator_type=H100", {"a": "3"}, id="index-and-more"),
        pytest.param("variant_name in (b,a,x)", {"a": "3", "b": "2500m"}, id="set"),
        pytest.param("variant_name!=a", {"b": "2500m"}, id="by-a-scan"),
        pytest.param("exported_namespace=lab,service_class", {"a": "3", "b": "2500m"}, id="labels"),
    ],
)
def test_selection(selector, items):
    assert World(FLEET).items(selector) == items


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param(
            ("lab", "m1", ""), UnknownMetricError, "'m1' is served in namespace 'lab'", id="metric"
        ),
        pytest.param(
            ("lab", DESIRED, "a in b"), BadSelectorError, "expected: '\\('", id="selector"
        ),
        pytest.param(
            ("lab", DESIRED, "variant_name=x"),
            NoMatchError,
            "'variant_name=x' in namespace 'lab', which has 2: a, b",
            id="no-match",
        ),
        pytest.param(
            ("lab", DESIRED, "variant_name=a,accelerator_type=T4"),
            NoMatchError,
            "nothing matches",
            id="index-but-not-the-rest",
        ),
        pytest.param(
            ("lab", DESIRED, "variant_name=c"),
            NoMatchError,
            "nothing matches",
            id="other-namespace's",
        ),
        pytest.param(("none", DESIRED, ""), NoMatchError, "which has none", id="empty-namespace"),
    ],
)
def test_what_can_t_be_answered(arguments, error, message):
    with pytest.raises(error, match=message):
        World(FLEET).answers.answer(LIST, *arguments)


class TestEncodingOnce:
    def test_an_answer_is_encoded_once_per_publication_and_only_if_asked_for(self):
        world = World(FLEET)
        assert world.answers.encoded == 0
        first = world.answers.answer(LIST, "lab", DESIRED, "variant_name=a")
        for _ in range(5):
            assert world.answers.answer(LIST, "lab", DESIRED, "variant_name=a") is first
        assert world.answers.encoded == 1
        world.publish(FLEET)
        assert world.answers.answer(LIST, "lab", DESIRED, "variant_name=a") is not first
        assert world.answers.encoded == 2

    def test_items_are_shared_between_answers(self):
        world = World(FLEET)
        world.items("variant_name=a")
        world.items("accelerator_type=H100")
        world.items("")
        assert len(world.answers._items) == 2

    def test_an_age_that_passes_a_limit_ends_an_answer(self):
        world = World({"lab/a": 1}, current=4)
        assert world.items() == {"a": "1"}
        world.clock.advance(28.9)
        assert world.items() == {"a": "1"}
        assert world.answers.encoded == 1
        world.clock.advance(1)
        assert world.items() == {"a": "4"}
        world.clock.advance(600)
        with pytest.raises(StalePublicationError):
            world.items()

    def test_what_is_kept_for_selectors_from_outside_is_bounded(self, monkeypatch):
        monkeypatch.setattr(module, "MAX_KEPT_BYTES", 20_000)
        world = World(FLEET)
        for i in range(200):
            world.items(f"variant_name!=x{i}")
        assert world.answers._kept_bytes <= 20_000
        assert len(world.answers._kept) < 40

    def test_errors_are_not_kept(self):
        world = World(FLEET)
        for i in range(50):
            with pytest.raises(NoMatchError):
                world.items(f"variant_name=x{i}")
        assert world.answers._kept == {}


def test_one_refused_variant_refuses_the_sum():
    """HPA adds items up: leaving one out would read as less."""
    world = World(FLEET)
    world.store.current()._held_until_s[1] = world.store.current()._fresh_until_s[1] = 0.0
    assert world.items("variant_name=a") == {"a": "3"}
    with pytest.raises(StalePublicationError, match="lab/b is refused"):
        world.items()


def test_a_table_shows_every_row_and_its_state():
    world = World({"lab/a": 3, "lab/b": 1}, current=2, message="engine silent")
    world.clock.advance(40)
    assert world.rows() == [
        ["a", "3", "held", "41s", "llama-3.1-8b", "H100", "engine silent"],
        ["b", "2", "held", "41s", "llama-3.1-8b", "H100", "engine silent"],
    ]
    world.clock.advance(600)
    assert [row[1:4] for row in world.rows()] == [["<unknown>", "refused", "641s"]] * 2


def test_a_table_of_what_was_never_read():
    world = World({"lab/a": 3}, age_s=float("inf"))
    assert world.rows()[0][1:4] == ["<unknown>", "refused", "never read"]


def test_compression_is_made_once_and_is_the_same_text():
    answer = World(FLEET).answers.answer(LIST, "lab", DESIRED, "")
    assert gzip.decompress(answer.compressed) == answer.body
    assert answer.compressed is answer.compressed


def test_the_timestamp_is_that_of_the_reading():
    world = World({"lab/a": 1}, age_s=12.0, published_unix_s=1.8e9)
    body = json.loads(world.answers.answer(LIST, "lab", DESIRED, "").body)
    assert body["items"][0]["timestamp"] == "2027-01-15T07:59:48Z"
