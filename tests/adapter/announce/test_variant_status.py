"""What the status of a VariantAutoscaling says, in the published words."""

import jsonschema
import pytest

from adapter.announce.subjects import Subject
from adapter.announce.variant_status import Status, apply_document, statuses_of
from adapter.records import Freshness, Publication, Reason, SourceFault
from optimizer import Binding
from tests.helpers.manifests import installed
from tests.helpers.publications import publication_of, report_of

NOW_UNIX_S = 1.8e9
VARIANT = Subject("llmd.ai/v1alpha1", "VariantAutoscaling", "default", "llama")
SOURCE = "VariantAutoscaling default/llama"
GONE = SourceFault(
    source=SOURCE, reason=Reason.MALFORMED, since_s=0, message="its scale target Deployment x isn't there"
)  # fmt: skip


def decided(desired: float = 3.0, **more) -> Publication:
    return publication_of({"default/llama": desired}, texts={"declared_by": SOURCE}, **more)


def status(publication: Publication, freshness: Freshness = Freshness.FRESH) -> Status:
    found = statuses_of(publication, [freshness] * len(publication.variants))
    assert list(found) == [VARIANT]
    return found[VARIANT]


def reasons(one: Status) -> dict[str, tuple[str, str]]:
    return {each.kind: (each.status, each.reason) for each in one.conditions}


def test_a_good_decision() -> None:
    one = status(decided())
    assert reasons(one) == {
        "TargetResolved": ("True", "TargetFound"),
        "MetricsAvailable": ("True", "MetricsFound"),
        "OptimizationReady": ("True", "OptimizationSucceeded"),
    }
    assert (one.desired, one.applied, one.reason) == (3, False, "Demand")


@pytest.mark.parametrize(
    ("publication", "freshness", "condition", "expected"),
    [
        pytest.param(decided(), Freshness.HELD, "MetricsAvailable", ("False", "MetricsStale"),
                     id="held"),
        pytest.param(decided(age_s=float("inf")), Freshness.REFUSED, "MetricsAvailable",
                     ("False", "MetricsMissing"), id="never read"),
        pytest.param(decided(), Freshness.REFUSED, "OptimizationReady",
                     ("False", "MetricsUnavailable"), id="refused"),
        pytest.param(decided(binding=Binding.SATURATION), Freshness.FRESH, "OptimizationReady",
                     ("True", "SaturationOnlyMode"), id="saturation"),
        pytest.param(decided(binding=Binding.SLO_INFEASIBLE), Freshness.FRESH, "OptimizationReady",
                     ("True", "SloInfeasible"), id="infeasible"),
        pytest.param(decided(report=report_of(faults=(GONE,))), Freshness.FRESH, "TargetResolved",
                     ("False", "TargetNotFound"), id="no target"),
    ],
)  # fmt: skip
def test_conditions(publication, freshness, condition, expected) -> None:
    assert reasons(status(publication, freshness))[condition] == expected


def test_an_object_that_declares_nothing_usable_is_told_so() -> None:
    fault = SourceFault(source=SOURCE, reason=Reason.MALFORMED, message="no model", since_s=0)
    other = publication_of({"default/x": 1.0}, report=report_of(faults=(fault,)))
    assert reasons(status(other))["OptimizationReady"] == ("False", "InvalidConfiguration")


def test_objects_of_other_kinds_have_no_status_of_ours() -> None:
    hpa = publication_of({"default/x": 1.0}, texts={"declared_by": "HPA default/x"})
    assert statuses_of(hpa, [Freshness.FRESH]) == {}


def test_later_readings_alone_are_the_same_status() -> None:
    before, after = status(decided()), status(decided(published_unix_s=1.9e9))
    assert after.says_the_same(before)
    assert not status(decided(4)).says_the_same(before)
    assert not before.says_the_same(None)


@pytest.mark.parametrize(
    "publication",
    [
        pytest.param(decided(), id="decided"),
        pytest.param(decided(float("nan")), id="not decided"),
        pytest.param(decided(labels={"accelerator_type": "?"}), id="short accelerator"),
        pytest.param(decided(report=report_of(faults=(GONE,))), id="no target"),
    ],
)
def test_what_is_applied_fits_our_definition(publication) -> None:
    document = apply_document(VARIANT, status(publication), {}, now_unix_s=NOW_UNIX_S)
    (definition,) = installed("CustomResourceDefinition")
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    jsonschema.validate({"status": document["status"]}, schema)
    known = schema["properties"]["status"]["properties"]
    assert document["status"].keys() <= known.keys(), "the API server drops what it doesn't know"
    assert "spec" not in document


def test_a_condition_that_stays_keeps_its_time() -> None:
    times = {"MetricsAvailable=True": "2020-01-01T00:00:00Z"}
    document = apply_document(VARIANT, status(decided()), times, now_unix_s=NOW_UNIX_S)
    began = {c["type"]: c["lastTransitionTime"] for c in document["status"]["conditions"]}
    assert began["MetricsAvailable"] == "2020-01-01T00:00:00Z"
    assert began["OptimizationReady"] == "2027-01-15T08:00:00Z"
    held = apply_document(VARIANT, status(decided(), Freshness.HELD), times, now_unix_s=NOW_UNIX_S)
    began = {c["type"]: c["lastTransitionTime"] for c in held["status"]["conditions"]}
    assert began["MetricsAvailable"] == "2027-01-15T08:00:00Z"
