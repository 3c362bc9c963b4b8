"""A change is told each time, a state when it begins; the first look tells no change."""

import pytest

from adapter.announce.events import MESSAGE_BYTES, Happening, happenings
from adapter.announce.subjects import Subject, parse_subject
from adapter.records import Freshness, Publication, Reason, SourceFault
from optimizer import Binding
from tests.helpers.publications import publication_of, report_of

HPA = Subject("autoscaling/v2", "HorizontalPodAutoscaler", "default", "llama")
DECLARED = {"declared_by": "HPA default/llama"}


def told(*publications: Publication, freshness: Freshness = Freshness.FRESH) -> list[Happening]:
    """Return what is told of the last publication, when the others were told before."""
    state, news = None, []
    for publication in publications:
        news, state = happenings(publication, [freshness] * len(publication.variants), state)
    return news


def decided(desired: float, **more) -> Publication:
    texts = {**DECLARED, **more.pop("texts", {})}
    return publication_of({"default/llama": desired}, texts=texts, **more)


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        pytest.param("HPA default/llama", HPA, id="hpa"),
        pytest.param(
            "ScaledObject a/b", Subject("keda.sh/v1alpha1", "ScaledObject", "a", "b"), id="keda"
        ),
        pytest.param(
            "VariantAutoscaling a/b",
            Subject("llmd.ai/v1alpha1", "VariantAutoscaling", "a", "b"),
            id="variant",
        ),
        pytest.param("", None, id="settings"),
        pytest.param("http://10.0.0.1:8000/metrics", None, id="an engine"),
        pytest.param("HPA default", None, id="no name"),
    ],
)
def test_only_objects_of_the_cluster_are_subjects(text, subject) -> None:
    assert parse_subject(text) == subject


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        pytest.param(2, 5, "ScaledUp", id="up"),
        pytest.param(5, 2, "ScaledDown", id="down"),
        pytest.param(1, 0, "ScaledToZero", id="to zero"),
        pytest.param(0, 1, "ScaledUp", id="from zero"),
    ],
)
def test_a_changed_count_is_told_with_its_reason(before, now, reason) -> None:
    (news,) = told(decided(before), decided(now))
    assert (news.subject, news.kind, news.reason) == (HPA, "Normal", reason)
    assert news.message == (
        f"desired replicas of llama: {before} to {now} "
        "(the queueing model needs this many for the SLO)"
    )


def test_the_first_look_tells_no_change() -> None:
    assert told(decided(7)) == []


def test_the_same_count_tells_nothing() -> None:
    assert told(decided(7), decided(7)) == []


def test_an_unknown_count_is_no_change() -> None:
    assert told(decided(float("nan")), decided(7)) == []


def test_a_variant_that_is_new_tells_no_change() -> None:
    both = publication_of({"default/llama": 3.0, "default/other": 4.0}, texts=DECLARED)
    assert told(decided(3), both) == []


def test_variants_of_the_settings_have_nobody_to_tell() -> None:
    assert told(publication_of({"a/b": 1.0}), publication_of({"a/b": 2.0})) == []


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        pytest.param({"binding": Binding.SLO_INFEASIBLE}, "SloInfeasible", "no count", id="slo"),
        pytest.param({"binding": Binding.MAX_REPLICAS}, "ResourceConstrained", "asks for more",
                     id="max"),
        pytest.param({"binding": Binding.CAPACITY}, "ResourceConstrained", "accelerators",
                     id="accelerators"),
        pytest.param({"binding": Binding.PRIORITY}, "ResourceConstrained", "higher service class",
                     id="priority"),
        pytest.param({"texts": {"fallback_risk": "fallback static to 1 can lower replicas"}},
                     "FallbackCanLower", "fallback static", id="fallback"),
        pytest.param({"texts": {"brake": "Budget"}}, "ResourceConstrained", "budget", id="budget"),
        pytest.param({"texts": {"stuck": "2 pods: Unschedulable"}}, "ResourceConstrained",
                     "Unschedulable", id="stuck"),
        pytest.param({"texts": {"hpa_limit": "TooManyReplicas: more"}}, "DecisionLimited",
                     "TooManyReplicas", id="hpa"),
    ],
)  # fmt: skip
def test_a_state_is_told_when_it_begins_and_not_while_it_lasts(changes, reason, words) -> None:
    (news,) = told(decided(3), decided(3, **changes))
    assert (news.kind, news.reason) == ("Warning", reason)
    assert words in news.message
    assert told(decided(3), decided(3, **changes), decided(3, **changes)) == []
    again = told(decided(3), decided(3, **changes), decided(3), decided(3, **changes))
    assert [one.reason for one in again] == [reason]


def test_a_state_that_a_new_leader_finds_is_told() -> None:
    """It may have begun while nobody led."""
    (news,) = told(decided(3, binding=Binding.SLO_INFEASIBLE))
    assert news.reason == "SloInfeasible"


@pytest.mark.parametrize(
    ("freshness", "word"),
    [
        pytest.param(Freshness.HELD, "held", id="held"),
        pytest.param(Freshness.REFUSED, "refused", id="refused"),
    ],
)
def test_lost_readings_are_told_with_the_source(freshness, word) -> None:
    (news,) = told(decided(3, message="http://10.0.0.1: timeout"), freshness=freshness)
    assert news.reason == "MetricsUnavailable"
    assert news.message == f"decision on llama is {word}: http://10.0.0.1: timeout"


def test_what_is_wrong_with_an_object_is_told_on_it() -> None:
    faults = (
        SourceFault(
            source="HPA default/other", reason=Reason.MALFORMED, message="model-id is missing",
            since_s=0,
        ),
        SourceFault(source="http://10.0.0.1", reason=Reason.TIMEOUT, message="no", since_s=0),
    )  # fmt: skip
    (news,) = told(decided(3, report=report_of(faults=faults)))
    assert (news.subject.name, news.reason) == ("other", "InvalidConfiguration")
    assert news.message == "model-id is missing"


def test_a_message_fits_into_an_event() -> None:
    (news,) = told(decided(3, message="ö" * 5000), freshness=Freshness.HELD)
    assert len(news.message.encode()) <= MESSAGE_BYTES
