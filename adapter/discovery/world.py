"""Settings and the cluster's objects joined: what is decided on, and under which limits. Pure.

The settings that come out are those of the file with the cluster's variants added; what
changes from tick to tick (replicas, what keeps them, HPA's limits) is beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from ..collect.fleet import Sighting
from ..config import Settings, Variant
from .accelerator_names import accelerator_of
from .autoscalers import Target
from .declarations import Declaration, Problem, declared
from .endpoint_slices import SERVICE_ANNOTATION
from .inventory import bounded, free_of_others, supply_in_words
from .model_names import known_class, known_model, one_class_per_model
from .orders import read_orders
from .replicas import Replicas
from .standing import Key, Sight, Standing
from .view import ClusterView
from .workloads import NamedTarget, Workload

__all__ = ["World", "join"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """What there is to decide on."""

    settings: Settings
    sighting: Sighting
    standings: Mapping[Key, Standing]
    problems: tuple[Problem, ...]
    named: frozenset[NamedTarget]  # targets that nothing else is watched for


def join(settings: Settings, view: ClusterView, *, now_unix_s: float) -> World:
    """Return the world that `settings` and `view` make."""
    cluster = Sight.of(view)
    found, problems = declared(
        hpas=view.hpas,
        scaled_objects=view.scaled_objects,
        variants=view.variants,
        instance=settings.controller_instance or "",
    )
    reports = [*view.problems, *problems]
    joining = _Joining(settings, cluster, now_unix_s, reports)
    for variant in settings.variants:
        joining.place(variant)
    for each in found:
        if not _shadowed(each, settings, reports):
            joining.take(each)
    variants = one_class_per_model(_followed(joining.variants, reports), settings, reports)
    joined = settings.model_copy(update={"variants": variants, "models": joining.models})
    free = free_of_others(view, joining.replicas)
    return World(
        settings=bounded(joined, view, joining.replicas, free, reports),
        sighting=_sighting(joining.replicas),
        standings={
            variant.key: replace(
                joining.standings[variant.key],
                supply=supply_in_words(
                    variant, free, view.quotas or (), strict=settings.strict_capacity
                ),
            )
            for variant in variants
            if variant.key in joining.standings
        },
        problems=tuple(dict.fromkeys(reports)),
        named=frozenset(each for each in joining.targets if each.needed()),
    )


class _Joining:
    """The world as it is being put together."""

    def __init__(
        self, settings: Settings, cluster: Sight, now_unix_s: float, reports: list[Problem]
    ) -> None:
        self._settings, self._cluster = settings, cluster
        self._now_unix_s, self._reports = now_unix_s, reports
        self.variants: list[Variant] = []
        self.models = dict(settings.models)
        self.replicas: dict[Key, Replicas] = {}
        self.standings: dict[Key, Standing] = {}
        self.targets: list[NamedTarget] = []

    def place(self, variant: Variant) -> None:
        """Add a variant of the settings; the cluster's objects are asked where it names one."""
        self.variants.append(variant)
        named = variant.target_ref
        if named is not None:
            target = Target(api_version=named.api_version, kind=named.kind, name=named.name)
            seen = self._cluster.replicas(*variant.key, target)
            self._stand(variant, "settings", target, seen, service=named.service)

    def take(self, each: Declaration) -> None:
        """Add a declared variant, if the settings' rules allow what it says."""
        seen = self._cluster.replicas(each.namespace, each.name, each.target)
        try:
            variant = self._variant(each, seen)
        except ValidationError as exc:
            faults = "; ".join(f"{error['loc'][0]}: {error['msg']}" for error in exc.errors())
            self._reports.append(Problem(source=each.source, message=faults))
            return
        self.variants.append(variant)
        service = each.notes.get(SERVICE_ANNOTATION, "")
        self._stand(variant, each.source, each.target, seen, service=service)
        standing = self.standings[variant.key]
        self.standings[variant.key] = replace(
            standing,
            limits=(*each.holds.words(), *standing.limits),
            zero=each.zero or standing.zero,
            fallback_risk=each.fallback_risk,
        )

    def _stand(
        self, variant: Variant, source: str, target: Target, seen: Replicas, *, service: str
    ) -> None:
        self.replicas[variant.key] = seen
        self.standings[variant.key] = self._cluster.standing(
            variant.key, source, target, seen, hpa_ref=variant.hpa_ref
        )
        if fault := self._cluster.fault(variant.namespace, target, service):
            whose = f"variant {'/'.join(variant.key)}" if source == "settings" else source
            self._reports.append(Problem(source=whose, message=fault))
        self.targets.append(
            NamedTarget(
                namespace=variant.namespace,
                api_version=target.api_version,
                kind=target.kind,
                name=target.name,
                service=service,
            )
        )

    def _variant(self, each: Declaration, seen: Replicas) -> Variant:
        """Return a declaration as the settings would have it."""

        def report(message: str) -> None:
            self._reports.append(Problem(source=each.source, message=message))

        workload = self._cluster.workload(each.namespace, each.target)
        orders = read_orders(
            each.notes, paused=each.paused, now_unix_s=self._now_unix_s, report=report
        )
        least, most = orders.bounds(_floor(each, report), each.most)
        least, most = each.holds.bounds(least, most, seen.current)
        kinds, settings = self._cluster.kinds, self._settings
        return Variant(
            name=each.name,
            namespace=each.namespace,
            model=known_model(each.model, workload, self.models),
            accelerator=accelerator_of(each.accelerator, workload, seen.node, kinds, settings),
            accelerators_per_replica=_per_replica(workload, seen),
            accelerator_resource=(workload.accelerators[0] if workload is not None else "")
            or seen.accelerators[0],
            engine_arguments=workload.limits if workload is not None else (),
            cost_per_hour=each.cost_per_hour,
            min_replicas=least,
            max_replicas=most,
            mode=orders.mode,
            hold=orders.hold,
            takes_over=orders.takes_over,
            service_class=known_class(each.service_class, settings, report),
        )


def _followed(variants: Sequence[Variant], reports: list[Problem]) -> list[Variant]:
    """Return the variants without takeovers of what there isn't, which are reported."""
    known = {variant.key for variant in variants}
    found = []
    for variant in variants:
        old = variant.takes_over
        if old is not None and (old == variant.name or (variant.namespace, old) not in known):
            message = f"wva.llm-d.ai/takes-over {old!r} is no other variant of its namespace"
            reports.append(Problem(source=f"variant {'/'.join(variant.key)}", message=message))
            variant = variant.model_copy(update={"takes_over": None})
        found.append(variant)
    return found


def _shadowed(each: Declaration, settings: Settings, reports: list[Problem]) -> bool:
    """Return whether the settings declare the variant, or its target, themselves."""
    for variant in settings.variants:
        target = variant.target_ref
        same_target = target is not None and (
            (variant.namespace, target.kind, target.name)
            == (each.namespace, each.target.kind, each.target.name)
        )
        if variant.key == (each.namespace, each.name) or same_target:
            message = f"the settings declare variant {variant.name} already, which counts"
            reports.append(Problem(source=each.source, message=message))
            return True
    return False


def _floor(each: Declaration, report: Callable[[str], None]) -> int:
    """Return the lower bound: 0 only where whoever follows the metric can leave 0 again."""
    if each.least > 0 or each.can_idle:
        return each.least
    report(
        "minReplicas is 0, but what follows it can't go there: 1 it is. See KEDA, or "
        "minReplicas: 0 of an HPA (feature gate HPAScaleToZero, on from Kubernetes 1.37)"
    )
    return 1


def _per_replica(workload: Workload | None, seen: Replicas) -> int:
    """Return the accelerators of one replica: of the template, else of a pod, else by command."""
    if workload is None:
        return seen.accelerators[1] or 1
    asked = workload.accelerators[1] or seen.accelerators[1]
    return asked or workload.arguments.accelerators_per_replica


def _sighting(replicas: Mapping[Key, Replicas]) -> Sighting:
    return Sighting(
        groups={key: seen.groups for key, seen in replicas.items()},
        current={key: seen.current for key, seen in replicas.items()},
        ready={key: seen.ready for key, seen in replicas.items()},
    )
