"""How a variant stands in the cluster: its workload, its replicas, who follows it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .autoscalers import Hpa, Target
from .nodes import types_by_node
from .pods import Owner, Pod
from .replicas import PodsByOwner, Replicas, group_pods, replicas_of
from .view import ClusterView
from .workloads import Workload

__all__ = ["Key", "Sight", "Standing"]

Key = tuple[str, str]  # namespace and name of a variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a variant stands in the cluster now."""

    source: str  # what declares it
    reachable: int | None  # most replicas that can be had now; None: nothing says
    stuck: str
    rolling: bool
    tolerance_ratio: float | None  # of the HPA that follows it, up; None: not known
    limits: tuple[str, ...]  # what holds that HPA back
    followed: bool = False  # by an HPA
    tolerance_down_ratio: float | None = None
    absent: tuple[str, Owner] | None = None  # a scale target that isn't there
    zero: str = ""  # whether and how it goes to zero
    supply: str = ""  # accelerators that there are for it, in words
    cold_start_s: float | None = None  # that its pods took to get ready
    fallback_risk: str = ""  # how KEDA could lower it while we are silent
    departing: int = 0  # replicas on cordoned nodes


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A view of the cluster with the look-ups that joining needs."""

    view: ClusterView
    pods: PodsByOwner | None
    kinds: Mapping[str, str]  # accelerators by node
    consumers: Mapping[Key, Hpa]
    cordoned: frozenset[str]

    @classmethod
    def of(cls, view: ClusterView) -> "Sight":
        """Return the look-ups into `view`."""
        return cls(
            view=view,
            pods=group_pods(view.pods) if view.pods is not None else None,
            kinds=types_by_node(view.nodes or ()),
            consumers=_consumers(view.hpas),
            cordoned=frozenset(node.name for node in view.nodes or () if node.cordoned),
        )

    def workload(self, namespace: str, target: Target) -> Workload | None:
        """Return a scale target, None where it isn't known."""
        return self.view.workloads.get((namespace, (target.kind, target.name)))

    def replicas(self, namespace: str, name: str, target: Target) -> Replicas:
        """Return the replicas of a variant's target."""
        place = (namespace, (target.kind, target.name))
        mine: list[Pod] | None = None
        if place in self.view.placed:
            mine = list(self.view.placed[place])
        elif self.pods is not None:
            mine = self.pods.get(place, [])
        absent = 0 if target.kind in self.view.listed else -1
        workload = self.workload(namespace, target)
        return replicas_of(namespace, name, workload, mine, absent=absent, cordoned=self.cordoned)

    def fault(self, namespace: str, target: Target, service: str) -> str:
        """Return what is amiss with a scale target, or with the Service that is named for it."""
        place, workload = (namespace, (target.kind, target.name)), self.workload(namespace, target)
        if place in self.view.unread:
            return self.view.unread[place]
        if workload is None and target.kind in self.view.listed:
            return f"its scale target {target.kind} {target.name} isn't there"
        if service and workload is not None and workload.ready and place not in self.view.placed:
            return (
                f"Service {service} has no endpoint, and {workload.ready} replicas are ready: "
                "its pods are found by their owner instead"
            )
        return ""

    def standing(
        self, key: Key, source: str, target: Target, replicas: Replicas, *, hpa_ref: str | None
    ) -> Standing:
        """Return what is to be said of a variant besides its counts."""
        place, workload = (key[0], (target.kind, target.name)), self.workload(key[0], target)
        names = (f"hpa/{hpa_ref}", key[1], f"={target.kind}/{target.name}")
        found = (self.consumers.get((key[0], name)) for name in names)
        hpa = next((each for each in found if each is not None), None)
        return Standing(
            source=source,
            reachable=replicas.reachable,
            stuck=replicas.stuck,
            rolling=workload is not None and workload.rolling,
            tolerance_ratio=hpa.tolerance_up if hpa is not None else None,
            limits=hpa.limits if hpa is not None else (),
            followed=hpa is not None,
            absent=place if workload is None and target.kind in self.view.listed else None,
            tolerance_down_ratio=hpa.tolerance_down if hpa is not None else None,
            zero=hpa.zero if hpa is not None and not hpa.made_by else "",
            cold_start_s=replicas.cold_start_s,
            departing=replicas.departing,
        )


def _consumers(hpas: Iterable[Hpa]) -> dict[Key, Hpa]:
    """Return HPAs by their name, the variant that their metric selects, and their target."""
    consumers: dict[Key, Hpa] = {}
    for hpa in hpas:
        namespace = hpa.metadata.namespace
        consumers[(namespace, f"hpa/{hpa.metadata.name}")] = hpa
        if hpa.variant:
            consumers.setdefault((namespace, hpa.variant), hpa)
        consumers.setdefault((namespace, f"={hpa.target.kind}/{hpa.target.name}"), hpa)
    return consumers
