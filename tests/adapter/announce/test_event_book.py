"""The same thing is counted within ten minutes, and told anew after that."""

from adapter.announce.event_book import WINDOW_S, EventBook
from adapter.announce.events import Happening
from adapter.announce.subjects import Subject

HPA = Subject("autoscaling/v2", "HorizontalPodAutoscaler", "default", "llama")
UP = Happening(HPA, "Normal", "ScaledUp", "2 to 3")
FOLDER = "/api/v1/namespaces/default/events"


def test_the_first_is_an_event_on_the_object() -> None:
    (write,) = EventBook("wva-0").writes([UP], now_unix_s=1.8e9)
    assert (write.method, write.path) == ("POST", FOLDER)
    body = write.body
    assert body["involvedObject"] == {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "namespace": "default",
        "name": "llama",
    }
    assert (body["type"], body["reason"], body["message"], body["count"]) == (
        "Normal", "ScaledUp", "2 to 3", 1,
    )  # fmt: skip
    assert body["firstTimestamp"] == body["lastTimestamp"] == "2027-01-15T08:00:00Z"


def test_the_next_of_its_kind_is_counted_with_its_own_words() -> None:
    book = EventBook("wva-0")
    (first,) = book.writes([UP], now_unix_s=1.8e9)
    again = Happening(HPA, "Normal", "ScaledUp", "3 to 5")
    (second,) = book.writes([again], now_unix_s=1.8e9 + 60)
    assert second.method == "PATCH"
    assert second.path == f"{FOLDER}/{first.body['metadata']['name']}"
    assert second.body == {
        "count": 2, "lastTimestamp": "2027-01-15T08:01:00Z", "message": "3 to 5"
    }  # fmt: skip


def test_after_ten_minutes_it_is_another_event() -> None:
    book = EventBook("wva-0")
    (first,) = book.writes([UP], now_unix_s=1.8e9)
    (later,) = book.writes([UP], now_unix_s=1.8e9 + WINDOW_S + 1)
    assert later.method == "POST"
    assert later.body["metadata"]["name"] != first.body["metadata"]["name"]


def test_another_reason_is_another_event() -> None:
    down = Happening(HPA, "Normal", "ScaledDown", "3 to 2")
    writes = EventBook("wva-0").writes([UP, down], now_unix_s=1.8e9)
    assert [write.method for write in writes] == ["POST", "POST"]
    assert len({write.body["metadata"]["name"] for write in writes}) == 2


def test_what_could_not_be_written_is_not_counted_on() -> None:
    book = EventBook("wva-0")
    (first,) = book.writes([UP], now_unix_s=1.8e9)
    book.forget(first)
    (again,) = book.writes([UP], now_unix_s=1.8e9 + 1)
    assert again.method == "POST"


def test_a_long_name_leaves_room_for_the_number() -> None:
    long = Happening(HPA._replace(name="x" * 253), "Normal", "ScaledUp", "1 to 2")
    (write,) = EventBook("wva-0").writes([long], now_unix_s=1.8e9)
    assert len(write.body["metadata"]["name"]) <= 253
