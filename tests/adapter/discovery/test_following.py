"""The world from tick to tick, and what it does to a decision."""

from dataclasses import replace

import numpy as np
import pytest

from adapter.catalog import build_catalog
from adapter.config import parse_settings
from adapter.decide import DecisionMemory, decide
from adapter.discovery.following import ClusterFollower
from adapter.discovery.view import ClusterView
from adapter.records import Circumstances, TickReport
from tests.helpers.clocks import ManualClock
from tests.helpers.kube_objects import deployment, hpa, pod
from tests.helpers.snapshots import catalog_of, replica, snapshot_of

from .test_world import view


class Cluster:
    """Views that a test changes."""

    def __init__(self) -> None:
        self.now = ClusterView(workloads={})
        self.wanted = frozenset()

    def show(self, *objects) -> None:
        self.now = replace(view(*objects), version=self.now.version + 1)

    def view(self) -> ClusterView:
        return self.now

    def want(self, targets) -> None:
        self.wanted = targets


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def follower(cluster, clock):
    return ClusterFollower(cluster, clock)


SETTINGS = parse_settings("")


def test_settings_stay_the_same_object_while_only_replicas_change(cluster, follower):
    cluster.show(hpa(), deployment(), pod("a"))
    settings, first = follower.joined(SETTINGS)
    cluster.show(hpa(), deployment(replicas=2), pod("a"), pod("b"))
    again, second = follower.joined(SETTINGS)
    assert again is settings
    assert (first.current[("default", "chat")], second.current[("default", "chat")]) == (1, 2)


def test_a_changed_declaration_changes_the_settings(cluster, follower):
    cluster.show(hpa(most=5), deployment())
    before, _ = follower.joined(SETTINGS)
    cluster.show(hpa(most=6), deployment())
    after, _ = follower.joined(SETTINGS)
    assert (before.variants[0].max_replicas, after.variants[0].max_replicas) == (5, 6)


def test_the_settings_file_may_change_under_the_cluster(cluster, follower):
    cluster.show(hpa(), deployment())
    follower.joined(SETTINGS)
    changed, _ = follower.joined(parse_settings("interval_s: 7"))
    assert changed.interval_s == 7
    assert len(changed.variants) == 1


def test_an_order_ends_by_the_clock_alone(cluster, follower, clock):
    clock.unix_offset_s = 0.0
    notes = {"wva.llm-d.ai/pin": "3", "wva.llm-d.ai/pin-until": "1970-01-01T00:20:00Z"}
    cluster.show(hpa(notes=notes), deployment())
    assert follower.joined(SETTINGS)[0].variants[0].min_replicas == 3
    clock.advance(300.0)
    assert follower.joined(SETTINGS)[0].variants[0].min_replicas == 1


def test_problems_are_faults_since_they_began(cluster, follower, clock):
    cluster.show(hpa(model=""))
    follower.joined(SETTINGS)
    clock.advance(30.0)
    cluster.show(hpa(model=""), deployment())
    settings, _ = follower.joined(SETTINGS)
    catalog = catalog_of("variants: []")
    faults = follower.added_to(snapshot_of(catalog, [])).faults
    assert settings.variants == ()
    assert [(fault.source, fault.since_s) for fault in faults] == [("HPA default/chat", 1000.0)]
    cluster.show(hpa(), deployment())
    follower.joined(SETTINGS)
    assert follower.added_to(snapshot_of(catalog, [])).faults == ()


def test_a_new_declaration_is_noticed_and_a_new_replica_is_none(cluster, follower):
    assert not follower.declares_more()  # nothing was joined yet: a tick is on its way
    cluster.show(hpa("one"), deployment("one"))
    follower.joined(SETTINGS)
    assert not follower.declares_more()
    cluster.show(hpa("one"), deployment("one", replicas=2), hpa("other", model=None))
    assert not follower.declares_more()
    cluster.show(hpa("one"), deployment("one"), hpa("two"), deployment("two"))
    assert follower.declares_more()
    follower.joined(SETTINGS)
    assert not follower.declares_more()
    cluster.show(hpa("one"), deployment("one"))
    assert not follower.declares_more()


def test_a_target_that_is_not_there_yet_is_refused_and_looked_at_as_soon_as_it_is(
    cluster, follower
):
    """An HPA and its Deployment are made together: at 0 the HPA would lower what there is."""

    def decision():
        settings, _ = follower.joined(SETTINGS)
        catalog = build_catalog(settings)
        snapshot = follower.added_to(snapshot_of(catalog, []))
        report = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)
        return decide(snapshot, catalog, DecisionMemory.empty(), report=report)[0]

    cluster.show(hpa("one"))
    early = decision()
    assert early.reading_age_s.tolist() == [np.inf]
    assert early.message == ("its scale target isn't there",)
    cluster.show(hpa("one"), hpa("other", model=None))
    assert not follower.declares_more()
    cluster.show(hpa("one"), deployment("one", replicas=0))
    assert follower.declares_more()
    assert decision().reading_age_s.tolist() == [0.0]


def test_the_tolerance_that_swallows_a_scale_down_is_the_hpas_own(cluster, follower):
    quiet, loud = hpa("quiet"), hpa("loud")
    loud["spec"]["behavior"] = {"scaleDown": {"tolerance": "0"}}
    cluster.show(quiet, deployment("quiet"), loud, deployment("loud"))
    settings, _ = follower.joined(SETTINGS)
    snapshot = follower.added_to(snapshot_of(build_catalog(settings), []))
    names = [key.name for key in snapshot.variants]
    down = dict(zip(names, snapshot.circumstances.tolerance_down_ratio, strict=True))
    assert snapshot.circumstances.followed.all()
    assert down["loud"] == 0.0
    assert np.isnan(down["quiet"])


def test_a_cluster_that_declares_nothing_is_decided_on(cluster, follower):
    settings, _ = follower.joined(SETTINGS)
    catalog = build_catalog(settings)
    snapshot = follower.added_to(snapshot_of(catalog, []))
    report = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)
    assert decide(snapshot, catalog, DecisionMemory.empty(), report=report)[0].variants == ()


CATALOG = catalog_of(
    """
brakes: {warm_up_s: 0, max_scale_down_ratio: 1.0, max_scale_up_factor: 100}
down_window_s: 1
accelerators: {L40S: {cost_per_hour: 1}, H100: {cost_per_hour: 10}}
service_classes: {chat: {priority: 1, slo: {itl_ms: 40}}}
models:
  m:
    service_class: chat
    profiles:
      L40S: {alpha_ms: 10, beta_ms: 0.5, max_batch_size: 64}
      H100: {alpha_ms: 10, beta_ms: 0.5, max_batch_size: 64}
variants:
  - {name: cheap, model: m, accelerator: L40S, max_replicas: 30}
  - {name: dear, model: m, accelerator: H100, max_replicas: 30}
"""
)


def decided(*, rate_rps: float, current=(2, 2), reachable=(-1, -1), tolerance=np.nan):
    replicas = [
        replica(row, f"{row}-{i}", completion_rate_rps=rate_rps / sum(current))
        for row, count in enumerate(current)
        for i in range(count)
    ]
    circumstances = Circumstances(
        reachable_replicas=np.array(reachable, dtype=np.int64),
        rolling=np.zeros(2, dtype=np.bool_),
        tolerance_ratio=np.full(2, tolerance),
        texts={"stuck": ("", "")},
    )
    snapshot = replace(
        snapshot_of(CATALOG, replicas, current=list(current)), circumstances=circumstances
    )
    report = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)
    return decide(snapshot, CATALOG, DecisionMemory.empty(), report=report)[0]


def test_demand_spills_to_the_next_tier_where_pods_cannot_start():
    free = decided(rate_rps=60.0).values["wva_desired_replicas"]
    bound = decided(rate_rps=60.0, reachable=(3, -1)).values["wva_desired_replicas"]
    assert free[0] > 3
    assert bound[0] <= 3
    assert bound[1] > free[1]


@pytest.mark.parametrize(("tolerance", "published"), [(0.0, 3.0), (0.6, 4.0), (np.nan, 3.0)])
def test_each_hpas_own_tolerance_counts(tolerance, published):
    told = decided(rate_rps=5.0, tolerance=tolerance).values["wva_desired_replicas"]
    assert told[0] == published
