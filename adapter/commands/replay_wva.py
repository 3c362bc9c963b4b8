"""WVA as a policy of a replay: its own decision code, behind stock HPA or KEDA.

Every tick reads the pods, decides, and publishes; HPA asks for `wva_desired_replicas` every
sync period and obeys our manifests' behavior. With KEDA (a ScaledObject as our manifests have
it) the same HPA exists between one and the maximum; a variant at zero is woken the moment that a
decision says so, and put to sleep once none has said otherwise for the cooldown.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from adapter.catalog import build_catalog
from adapter.config import Settings
from adapter.decide import DecisionMemory, decide
from adapter.records import (
    MODEL_SIGNALS,
    ModelKey,
    Publication,
    Readings,
    Reason,
    Snapshot,
    TickReport,
    VariantKey,
)
from simulator.hpa import Behavior
from simulator.hpa_spec import Policy as HpaPolicy
from simulator.hpa_spec import ScalingRules
from simulator.keda import Fallback, ScaledObject
from simulator.policies.hpa_loop import SYNC_S, HpaLoop, hpa_specs
from simulator.policies.keda_loop import KedaLoop
from simulator.policies.timetable import Timetable
from simulator.world import World

from .replay_circumstances import circumstances_of
from .replay_pages import PodPages

__all__ = ["Adapter", "wva_policy"]

# The replay's clock starts at a Monday midnight: seasons need a wall clock.
START_UNIX_S = 1_767_571_200.0
SECOND_TICK_S = 1.0
NO_REPORT = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)

OUR_BEHAVIOR = Behavior(
    scale_up=ScalingRules(policies=(HpaPolicy("Pods", 1000, 15.0),), tolerance=0.0),
    scale_down=ScalingRules(policies=(HpaPolicy("Percent", 20, 60.0),), tolerance=0.0),
)
# As in manifests/examples/scaled-object-push.yaml.
OUR_OBJECT = ScaledObject(
    polling_s=5.0, cooldown_s=300.0, fallback=Fallback(behavior="currentReplicasIfHigher")
)


@dataclass(slots=True, eq=False)
class Adapter:
    """The adapter's loop on a simulated world, and the last thing that it published."""

    settings: Settings
    pages: PodPages
    memory: DecisionMemory
    publication: Publication | None = None

    @classmethod
    def of(cls, settings: Settings, world: World) -> "Adapter":
        """Return an adapter that has just started."""
        pages = PodPages(settings, world, start_unix_s=START_UNIX_S)
        return cls(settings, pages, DecisionMemory.empty())

    def tick(self, world: World) -> Publication:
        """Read, decide, publish."""
        catalog = build_catalog(self.settings)
        self.publication, self.memory = decide(
            self.snapshot(world), catalog, self.memory, report=NO_REPORT
        )
        return self.publication

    def snapshot(self, world: World) -> Snapshot:
        """Return what is known of the world now."""
        view = self.pages.read(world)
        variants = self.settings.variants
        return Snapshot(
            taken_s=world.now_s,
            taken_unix_s=START_UNIX_S + world.now_s,
            variants=tuple(VariantKey(v.namespace, v.name) for v in variants),
            models=tuple(ModelKey("default", model.name) for model in world.scenario.models),
            variant_model=np.array(world.model_of, dtype=np.int64),
            replica_id=view.replica_id,
            replica_variant=view.replica_variant,
            replica_state=view.replica_state,
            replica_age_s=view.replica_age_s,
            replica=view.replica,
            variant=view.variant,
            model=_demand(world),
            current_replicas=view.current_replicas,
            ready_replicas=view.ready_replicas,
            dialect=view.dialect,
            circumstances=circumstances_of(world, self.settings),
        )

    def desired(self, now_s: float) -> list[float | None]:
        """Return what HPA reads of each variant now: the decision, one that is held, or none."""
        publication = self.publication
        if publication is None:
            return [None] * len(self.settings.variants)
        passed_s = START_UNIX_S + now_s - publication.published_unix_s
        age_s = publication.reading_age_s + passed_s
        fresh = age_s <= publication.max_decision_age_s
        refused = age_s > publication.max_decision_age_s + publication.hold_s
        values = np.where(
            fresh, publication.values["wva_desired_replicas"], publication.held_values
        )
        return [
            None if gone or not np.isfinite(value) else float(value)
            for value, gone in zip(values.tolist(), refused.tolist(), strict=True)
        ]


def _demand(world: World) -> dict[str, Readings]:
    """Return what routers say: queues, where a gateway holds what nobody has room for."""
    count = len(world.services)
    readings = {name: Readings.missing(count, Reason.NOT_EXPORTED) for name in MODEL_SIGNALS}
    queued = np.array([float(service.queued) for service in world.services])
    return {**readings, "router_queue_requests": Readings.of(queued)}


def wva_policy(
    world: World,
    settings: Settings,
    *,
    keda: bool = False,
    heard: Callable[[float, Publication], None] | None = None,
) -> Timetable:
    """Return WVA with its loop, and its HPA or, if `keda`, a ScaledObject for every variant.

    `heard` is told of every publication, and when it was made.
    """
    adapter = Adapter.of(settings, world)
    objects = [replace(OUR_OBJECT, min_replicas=spec.min_replicas) for spec in world.variants]
    scaled = KedaLoop(objects, lambda now: adapter.desired(now.now_s))
    timetable = Timetable()

    def tick(now: World) -> None:
        publication = adapter.tick(now)
        if heard is not None:
            heard(now.now_s, publication)
        if keda:
            scaled.push(now)

    timetable.every(1e18, tick)
    timetable.every(settings.interval_s, tick, first_s=SECOND_TICK_S)
    if keda:
        scaled.on(timetable, world, OUR_BEHAVIOR)
    else:
        specs = hpa_specs(world, OUR_BEHAVIOR, zero=True)
        loop = HpaLoop(specs=specs, signal=lambda now: adapter.desired(now.now_s))
        timetable.every(SYNC_S, loop.sync, first_s=SYNC_S)
    return timetable
