"""Explanations: every number of the decision, none made up."""

import json
import math

import numpy as np
import pytest

from adapter.explain import BINDING_MEANINGS, BRAKE_MEANINGS, explain_variant, to_text
from adapter.guard import Brake
from adapter.records import Freshness
from optimizer import Binding
from tests.helpers.publications import BINDING_NAMES, publication_of

DETAILS = {
    "input.arrival_rate_rps": 12.5,
    "input.prompt_tokens_mean": 512.0,
    "input.kv_usage_ratio": 0.37,
    "input.waiting_requests": math.nan,
    "bound.model_replicas": 5.0,
    "bound.saturation_replicas": 3.0,
    "slo.ttft_s": 0.5,
    "slo.itl_s": math.nan,
    "slo.percentile_ratio": 0.95,
    "predicted.ttft_s": 0.412,
    "predicted.ttft_mean_s": 0.1,
    "predicted.capacity_rps": 2.9,
    "measured.ttft_p95_s": 0.38,
    "measured.ttft_p99_s": 0.9,
    "cost.now_per_hour": 8.2,
    "power.measured_w": math.nan,
}


def explained(freshness=Freshness.FRESH, age_s=3.2, **changes):
    publication = publication_of({"default/llama": 5.0}, details=DETAILS, **changes)
    return explain_variant(publication, 0, age_s, freshness)


def test_dict_is_json_and_holds_every_detail_with_its_unit():
    got = json.loads(json.dumps(explained(), allow_nan=False))
    assert got["inputs"]["arrival_rate_rps"] == {"value": 12.5, "unit": "requests/s"}
    assert got["inputs"]["prompt_tokens_mean"] == {"value": 512.0, "unit": "tokens"}
    assert got["bounds"]["model_replicas"] == {"value": 5.0, "unit": "replicas"}
    assert got["predicted"]["ttft_s"] == {"value": 0.412, "unit": "s"}
    assert got["cost"]["now_per_hour"] == {"value": 8.2, "unit": "currency/h"}
    shown = sum(len(got[s]) for s in ("inputs", "bounds", "slo", "predicted", "measured"))
    assert shown + len(got["cost"]) + len(got["power"]) == len(DETAILS)


def test_what_is_not_known_is_null_and_never_zero():
    got = explained(age_s=math.inf)
    assert got["inputs"]["waiting_requests"] == {"value": None, "unit": "requests"}
    assert got["decision"]["utilization_ratio"] is None
    assert got["freshness"]["age_s"] is None
    assert got["freshness"]["read_at"] is None


@pytest.mark.parametrize(
    ("freshness", "served"),
    [
        pytest.param(Freshness.FRESH, 1.0, id="fresh-is-the-decision"),
        pytest.param(Freshness.HELD, 2.0, id="held-is-what-is-there-if-more"),
        pytest.param(Freshness.REFUSED, None, id="refused-is-no-answer"),
    ],
)
def test_served_count_follows_the_state(freshness, served):
    publication = publication_of({"default/llama": 1.0}, current=2.0)
    got = explain_variant(publication, 0, 40.0, freshness)
    assert got["decision"]["served_replicas"] == served
    assert got["decision"]["desired_replicas"] == 1.0
    assert got["freshness"]["state"] == freshness.name.lower()


def test_text_says_count_reason_bounds_and_age():
    text = to_text(explained(texts={"mode": "active", "profile": "given"}))
    lines = text.splitlines()
    assert lines[0] == "default/llama: 5 replicas served, 2 now"
    assert "Demand: the queueing model needs this many for the SLO" in text
    assert "fresh: read 3.2 s ago (held after 30 s, for 600 s)" in text
    assert "arrival rate                12.5 requests/s" in text
    assert "waiting requests            unknown" in text
    assert "KV usage                    37 %" in text
    assert "model replicas              5" in text
    assert "model llama-3.1-8b, accelerator H100, class premium, mode active, profile given" in text
    assert "now                         8.20 per hour" in text


def test_text_compares_target_prediction_and_measurement_at_the_slos_percentile():
    lines = to_text(explained()).splitlines()
    (row,) = [line for line in lines if line.startswith("    TTFT p95")]
    assert row.split()[2:] == ["500", "ms", "412", "ms", "380", "ms"]
    (row,) = [line for line in lines if line.startswith("    ITL p95")]
    assert row.split()[2:] == ["-", "-", "-"]


def test_text_of_a_refused_decision_says_what_is_missing_and_the_last_one():
    text = to_text(
        explained(
            Freshness.REFUSED, age_s=700.0, message="2 of 2 replicas silent: http://a (Timeout)"
        )
    )
    assert text.startswith("default/llama: no answer, 2 now\n")
    assert "refused: read 700 s ago" in text
    assert "the last decision was 5" in text
    assert "missing   2 of 2 replicas silent: http://a (Timeout)" in text


def test_text_names_the_brake():
    text = to_text(explained(texts={"brake": "WarmUp"}))
    assert "brake     WarmUp: nothing falls before a warm-up of complete readings" in text
    assert "brake" not in to_text(explained())


def test_text_of_a_publication_without_details_is_still_text():
    publication = publication_of({"default/x": 1.0}, binding=Binding.IDLE)
    text = to_text(explain_variant(publication, 0, 1.0, Freshness.FRESH))
    assert text.startswith("default/x: 1 replica served, 2 now\n")


def test_every_binding_and_brake_has_a_meaning():
    assert set(BINDING_MEANINGS) == set(BINDING_NAMES)
    names = {"".join(w.capitalize() for w in b.name.split("_")) for b in Brake}
    assert set(BRAKE_MEANINGS) == names - {"None"}


def test_an_infinite_prediction_is_unbounded_and_not_unknown():
    details = {"predicted.ttft_s": np.inf, "predicted.itl_s": 0.02, "slo.percentile_ratio": 0.95}
    publication = publication_of({"default/x": 1.0}, details=details)
    got = explain_variant(publication, 0, 1.0, Freshness.FRESH)
    assert got["predicted"]["ttft_s"] == {"value": None, "unit": "s", "unbounded": True}
    json.dumps(got, allow_nan=False)
    (row,) = [line for line in to_text(got).splitlines() if line.startswith("    TTFT p95")]
    assert row.split()[2:] == ["-", "unbounded", "-"]
