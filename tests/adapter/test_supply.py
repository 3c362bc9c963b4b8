"""What may run out, read from the settings."""

import numpy as np
import pytest

from adapter.catalog import build_catalog
from adapter.config import parse_settings
from adapter.errors import ConfigError

BASE = """
accelerators:
  H100: {{cost_per_hour: 4.0{count}}}
  L40S: {{cost_per_hour: 1.0, count: -1}}
service_classes:
  gold: {{priority: 1}}
  batch: {{priority: 1, kind: offline, slo: {{deadline_s: 3600}}}}
models:
  a: {{service_class: gold}}
  b: {{service_class: batch}}
variants:
  - {{name: a-h100, namespace: x, model: a, accelerator: H100, accelerators_per_replica: 2}}
  - {{name: b-h100, namespace: y, model: b, accelerator: H100}}
  - {{name: b-l40s, namespace: y, model: b, accelerator: L40S}}
{more}
"""


def supply(*, count=", count: 8", more=""):
    return build_catalog(parse_settings(BASE.format(count=count, more=more))).supply


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({}, {"H100": 8.0}, id="counted"),
        pytest.param({"count": ""}, {}, id="uncounted-is-unlimited"),
        pytest.param({"count": ", count: -1"}, {}, id="minus-one-is-unlimited"),
        pytest.param({"count": ", count: 0"}, {"H100": 0.0}, id="zero-is-none"),
        pytest.param(
            {"count": "", "more": "strict_capacity: true"}, {"H100": 0.0}, id="strict-means-absent"
        ),
        pytest.param(
            {"more": "quotas: {x: {H100: 4}, y: {H100: -1}}"},
            {"H100": 8.0, "quota of x for H100": 4.0},
            id="quota-of-a-namespace",
        ),
        pytest.param(
            {"count": "", "more": "brakes: {budget_per_hour: 9}"}, {"budget": 9.0}, id="budget"
        ),
    ],
)
def test_resources(arguments, expected):
    found = supply(**arguments)
    assert dict(zip(found.names, found.uses.capacity.tolist(), strict=True)) == expected


def test_a_quota_may_bound_a_resource_over_all_its_types():
    more = "quotas: {y: {nvidia.com/gpu: 4}}"
    settings = parse_settings(BASE.format(count="", more=more))
    variants = [
        v.model_copy(update={"accelerator_resource": "nvidia.com/gpu"}) for v in settings.variants
    ]
    found = build_catalog(settings.model_copy(update={"variants": tuple(variants)})).supply
    assert found.names == ("quota of y for nvidia.com/gpu",)
    assert found.uses.used(np.array([1, 1, 2])).tolist() == [3.0]


def test_a_replica_takes_all_its_accelerators():
    assert supply().uses.used(np.array([1, 1, 5])).tolist() == [3.0]


def test_a_quota_counts_its_own_namespace_only():
    found = supply(count="", more="quotas: {y: {H100: 4}}")
    assert found.uses.used(np.array([1, 1, 0])).tolist() == [1.0]


def test_a_budget_stops_nothing_that_runs():
    found = supply(count="", more="brakes: {budget_per_hour: 9}")
    assert found.in_force(np.array([2, 0, 0])).capacity.tolist() == [16.0]
    assert supply().in_force(np.array([9, 0, 0])).capacity.tolist() == [8.0]


def test_offline_work_comes_after_all_online_work():
    found = supply()
    assert found.offline.tolist() == [False, True]
    assert found.rank[0] < found.rank[1]
    assert found.deadline_s.tolist() == [np.inf, 3600.0]


def test_of_several_classes_of_a_model_the_first_counts():
    text = BASE.format(count="", more="").replace(
        "model: b, accelerator: L40S}", "model: b, accelerator: L40S, service_class: gold}"
    )
    found = build_catalog(parse_settings(text)).supply
    assert found.offline.tolist() == [False, False]


def test_a_quota_below_minus_one_is_refused():
    with pytest.raises(ConfigError, match="quotas"):
        supply(more="quotas: {x: {H100: -2}}")
