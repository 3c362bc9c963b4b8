"""Settings and the cluster's objects joined: what is decided on, and under which limits. Pure.

The settings that come out are those of the file with the cluster's variants added; what
changes from tick to tick (replicas, what keeps them, HPA's limits) is beside them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from pydantic import ValidationError

from ..collect.fleet import Sighting
from ..config import Model, Settings, Variant
from .accelerator_names import accelerator_of
from .autoscalers import Hpa, Target
from .declarations import Declaration, Problem, declared
from .nodes import free_accelerators, supply_in_words, types_by_node
from .orders import read_orders
from .replicas import PodsByOwner, Replicas, group_pods, replicas_of
from .view import ClusterView
from .workloads import Workload

__all__ = ["Standing", "World", "join"]

Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a variant stands in the cluster now."""

    source: str  # what declares it
    reachable: int | None  # most replicas that can be had now; None: nothing says
    stuck: str
    rolling: bool
    tolerance_ratio: float | None  # of the HPA that follows it; None: not known
    limits: tuple[str, ...]  # what holds that HPA back
    supply: str = ""  # accelerators that there are for it, in words


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """What there is to decide on."""

    settings: Settings
    sighting: Sighting
    standings: Mapping[Key, Standing]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Cluster:
    """A view with the look-ups that joining needs."""

    view: ClusterView
    pods: PodsByOwner | None
    kinds: Mapping[str, str]
    consumers: Mapping[Key, Hpa]

    @classmethod
    def of(cls, view: ClusterView) -> "_Cluster":
        return cls(
            view=view,
            pods=group_pods(view.pods) if view.pods is not None else None,
            kinds=types_by_node(view.nodes or ()),
            consumers=_consumers(view.hpas),
        )

    def workload(self, namespace: str, target: Target) -> Workload | None:
        return self.view.workloads.get((namespace, (target.kind, target.name)))

    def replicas(self, namespace: str, name: str, target: Target) -> Replicas:
        owned = self.pods
        mine = owned.get((namespace, (target.kind, target.name)), []) if owned is not None else None
        return replicas_of(namespace, name, self.workload(namespace, target), mine)

    def standing(
        self, key: Key, source: str, target: Target, replicas: Replicas, *, hpa_ref: str | None
    ) -> Standing:
        workload = self.workload(key[0], target)
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
        )


def join(settings: Settings, view: ClusterView, *, now_unix_s: float) -> World:
    """Return the world that `settings` and `view` make."""
    cluster = _Cluster.of(view)
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
    variants = _one_class_per_model(joining.variants, settings, reports)
    free = _free(view, joining.replicas)
    return World(
        settings=settings.model_copy(update={"variants": variants, "models": joining.models}),
        sighting=_sighting(joining.replicas),
        standings={
            variant.key: replace(
                joining.standings[variant.key],
                supply=supply_in_words(
                    variant.accelerator, variant.namespace, free, view.quotas or ()
                ),
            )
            for variant in variants
            if variant.key in joining.standings
        },
        problems=tuple(dict.fromkeys(reports)),
    )


class _Joining:
    """The world as it is being put together."""

    def __init__(
        self, settings: Settings, cluster: _Cluster, now_unix_s: float, reports: list[Problem]
    ) -> None:
        self._settings, self._cluster = settings, cluster
        self._now_unix_s, self._reports = now_unix_s, reports
        self.variants: list[Variant] = []
        self.models = dict(settings.models)
        self.replicas: dict[Key, Replicas] = {}
        self.standings: dict[Key, Standing] = {}

    def place(self, variant: Variant) -> None:
        """Add a variant of the settings; the cluster's objects are asked where it names one."""
        self.variants.append(variant)
        if variant.target_ref is not None:
            kind, name = variant.target_ref.kind, variant.target_ref.name
            target = Target(api_version="", kind=kind, name=name)
            seen = self._cluster.replicas(*variant.key, target)
            self._stand(variant, "settings", target, seen)

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
        self._stand(variant, each.source, each.target, seen)

    def _stand(self, variant: Variant, source: str, target: Target, seen: Replicas) -> None:
        self.replicas[variant.key] = seen
        self.standings[variant.key] = self._cluster.standing(
            variant.key, source, target, seen, hpa_ref=variant.hpa_ref
        )

    def _variant(self, each: Declaration, seen: Replicas) -> Variant:
        """Return a declaration as the settings would have it."""

        def report(message: str) -> None:
            self._reports.append(Problem(source=each.source, message=message))

        workload = self._cluster.workload(each.namespace, each.target)
        if workload is None:
            report(f"its scale target {each.target.kind} {each.target.name} isn't there")
        orders = read_orders(
            each.notes, paused=each.paused, now_unix_s=self._now_unix_s, report=report
        )
        least, most = orders.bounds(_floor(each, report), each.most)
        kinds, settings = self._cluster.kinds, self._settings
        return Variant(
            name=each.name,
            namespace=each.namespace,
            model=_model(each.model, workload, self.models),
            accelerator=accelerator_of(each.accelerator, workload, seen.node, kinds, settings),
            accelerators_per_replica=_per_replica(workload),
            cost_per_hour=each.cost_per_hour,
            min_replicas=least,
            max_replicas=most,
            mode=orders.mode,
            service_class=_class(each.service_class, settings, report),
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


def _class(name: str, settings: Settings, report: Callable[[str], None]) -> str | None:
    if not name or name in settings.service_classes:
        return name or None
    known = ", ".join(sorted(settings.service_classes)) or "none"
    report(f"service class {name!r} is not in the settings (known: {known}); the model's counts")
    return None


def _floor(each: Declaration, report: Callable[[str], None]) -> int:
    """Return the lower bound: 0 only where whoever follows the metric can leave 0 again."""
    if each.least > 0 or each.can_idle:
        return each.least
    report(
        "minReplicas is 0, but what follows it can't go there: 1 it is. See KEDA, or "
        "minReplicas: 0 of an HPA (feature gate HPAScaleToZero, on from Kubernetes 1.37)"
    )
    return 1


def _model(name: str, workload: Workload | None, models: dict[str, Model]) -> str:
    """Return the settings' name of a model, and add what its engines call it."""
    known = next(
        (own for own, model in models.items() if name == own or name in model.served_names),
        name,
    )
    served = workload.served_names if workload is not None else ()
    model = models.get(known) or Model()
    missing = [each for each in served if each not in {known, *model.served_names}]
    if missing or (models and known not in models):
        names = (*model.served_names, *missing)
        models[known] = model.model_copy(update={"served_names": names})
    return known


def _per_replica(workload: Workload | None) -> int:
    if workload is None:
        return 1
    return workload.accelerators[1] or workload.arguments.accelerators_per_replica


def _one_class_per_model(
    variants: list[Variant], settings: Settings, reports: list[Problem]
) -> tuple[Variant, ...]:
    """Give all variants of a model in a namespace one class: demand belongs to the model.

    Of several the strictest counts: the highest priority, then the first in the alphabet.
    """
    asked: dict[Key, set[str]] = {}
    for variant in variants:
        if variant.service_class is not None:
            asked.setdefault((variant.namespace, variant.model), set()).add(variant.service_class)
    chosen: dict[Key, str] = {}
    for key, names in asked.items():
        chosen[key] = min(names, key=lambda name: (settings.service_classes[name].priority, name))
        if len(names) > 1:
            message = (
                f"its variants ask for the service classes {', '.join(sorted(names))}; the "
                f"strictest counts for all of them: {chosen[key]}"
            )
            reports.append(Problem(source=f"model {key[0]}/{key[1]}", message=message))
    return tuple(
        variant.model_copy(update={"service_class": wanted})
        if (wanted := chosen.get((variant.namespace, variant.model), variant.service_class))
        != variant.service_class
        else variant
        for variant in variants
    )


def _free(view: ClusterView, replicas: Mapping[Key, Replicas]) -> dict[str, int] | None:
    """Return accelerators that others don't hold, by type; None where that can't be known."""
    if view.nodes is None:
        return None
    ours = frozenset(
        (namespace, pod) for (namespace, _), seen in replicas.items() for pod in seen.pods
    )
    return free_accelerators(view.nodes, view.pods or (), ours)


def _sighting(replicas: Mapping[Key, Replicas]) -> Sighting:
    return Sighting(
        groups={key: seen.groups for key, seen in replicas.items()},
        current={key: seen.current for key, seen in replicas.items()},
        ready={key: seen.ready for key, seen in replicas.items()},
    )
