"""The simulator's HPA against recorded decisions of the stock controller.

The table comes from a real kube-controller-manager: see record_hpa in the end-to-end tests.
"""

import json
from itertools import groupby
from pathlib import Path

import pytest

from simulator.hpa import HpaState, decide
from simulator.hpa_spec import Behavior, HpaSpec, Policy, ScalingRules, SelectPolicy

TABLE = json.loads(Path(__file__).with_name("hpa_decisions.json").read_text())
ROWS = {name: list(rows) for name, rows in groupby(TABLE["rows"], lambda row: row["hpa"])}
CLOCKS_S = 0.6
TOLERANCES = {"300m": 0.3, "50m": 0.05}


def rules(given):
    return ScalingRules(
        policies=tuple(
            Policy(one["type"], one["value"], float(one["periodSeconds"]))
            for one in given["policies"]
        ),
        stabilization_s=float(given["stabilizationWindowSeconds"]),
        select=SelectPolicy(given["selectPolicy"]),
        tolerance=TOLERANCES[given["tolerance"]] if "tolerance" in given else 0.1,
    )


def spec(name):
    given = TABLE["behaviors"][name]
    behavior = None
    if given is not None:
        behavior = Behavior(scale_up=rules(given["scaleUp"]), scale_down=rules(given["scaleDown"]))
    return HpaSpec(min_replicas=TABLE["min"], max_replicas=TABLE["max"], behavior=behavior)


def replayed(name):
    """Yield each recorded row with what the simulator's HPA decides, and how sure its time is.

    Deployments began with one replica: what the controller did first, a sync before it asked for
    a metric, was to raise that to the minimum, and it remembers that as a change. Where the
    decision at the recorded moment differs, it is taken a little earlier or later: a window or a
    period that ends between two readings of two clocks may have ended or not.
    """
    began_s = ROWS[name][0]["at_s"] - TABLE["sync_s"]
    state = decide(HpaState(), spec(name), replicas=1, metric=None, now_s=began_s).state
    for row in ROWS[name]:
        decisions = [
            decide(
                state,
                spec(name),
                replicas=row["spec_replicas"],
                status_replicas=row["status_replicas"],
                metric=row["metric"],
                now_s=row["at_s"] + shift_s,
            )
            for shift_s in (0.0, CLOCKS_S, -CLOCKS_S)
        ]
        same = [at for at, one in enumerate(decisions) if one.replicas == row["desired"]]
        state = decisions[same[0] if same else 0].state
        yield row, bool(same), same[:1] == [0]


@pytest.mark.parametrize("name", TABLE["behaviors"])
def test_it_decides_as_the_stock_controller_did(name):
    found = list(replayed(name))
    assert len(found) >= 100
    assert not [row for row, same, _ in found if not same]
    assert sum(at_once for _, _, at_once in found) >= 0.95 * len(found)


def test_the_recorded_decisions_are_worth_comparing():
    changes = [row["desired"] - row["spec_replicas"] for row in TABLE["rows"]]
    assert sum(change > 0 for change in changes) >= 40
    assert sum(change < 0 for change in changes) >= 15
    assert any(row["metric"] is None for row in TABLE["rows"])
    for name in TABLE["behaviors"]:
        assert any(row["desired"] != row["spec_replicas"] for row in ROWS[name]), name
