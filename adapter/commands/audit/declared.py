"""What a person says of the workloads that no metric tells: promises, prices, bounds, cold starts.

From a settings file where there is one, from flags otherwise; whatever nobody said is assumed,
and listed as such.
"""

import argparse
from dataclasses import dataclass, field

from adapter.accelerators import assume
from adapter.config import Accelerator, Profile, ServiceClass, Settings, Slo, Variant
from simulator.routers import ROUTERS

from .names import VariantName

__all__ = ["Declared", "Promise", "Supply"]

# What chat users take for fluent, where nobody promised anything.
ASSUMED_SLO = Slo(ttft_ms=2000, itl_ms=100, percentile=95)
ASSUMED_ACCELERATOR = "H100"
ASSUMED_COLD_START_S = 120.0
ASSUMED_ROUTER = "least_loaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a model's users were promised."""

    ttft_s: float
    itl_s: float
    percentile: float
    priority: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What one replica of a workload is made of, and how many there may be."""

    accelerator: str
    accelerators_per_replica: int
    cost_per_hour: float  # of one accelerator
    idle_w: float
    full_w: float
    cold_start_s: float
    min_replicas: int
    max_replicas: int | None
    max_batch_size: int | None
    profile: Profile | None
    routing_weight: float


@dataclass(slots=True, kw_only=True)
class Declared:
    """Answers by workload; `assumptions` grows with what had to be assumed."""

    options: argparse.Namespace
    settings: Settings | None
    assumptions: dict[str, None] = field(default_factory=dict)  # in order, each once

    def promise(self, namespace: str, model: str) -> Promise:
        """Return what a model's users were promised."""
        found, options = self._class(namespace, model), self.options
        given = options.ttft_ms is not None or options.itl_ms is not None
        if found is not None and (found.slo.ttft_ms or found.slo.itl_ms):
            slo, priority = found.slo, found.priority
        elif given:
            slo = Slo(ttft_ms=options.ttft_ms, itl_ms=options.itl_ms, percentile=options.percentile)
            priority = 1
        else:
            slo, priority = ASSUMED_SLO, 1
            self._assume(
                f"nobody promised anything for {model}: TTFT {slo.ttft_ms:g} ms and ITL "
                f"{slo.itl_ms:g} ms at p{slo.percentile:g} (--ttft-ms, --itl-ms, --percentile)"
            )
        never_s = 1e6  # a target that isn't given isn't checked
        return Promise(
            ttft_s=min(slo.ttft_s, never_s),
            itl_s=min(slo.itl_s, never_s),
            percentile=slo.percentile,
            priority=priority,
        )

    def supply(self, variant: VariantName) -> Supply:
        """Return what a workload's replicas are made of."""
        spec, options = self._variant(variant), self.options
        name = spec.accelerator if spec is not None else options.accelerator
        if name is None:
            name = ASSUMED_ACCELERATOR
            self._assume(f"accelerator of {variant.name}: {name} (--accelerator)")
        count = spec.accelerators_per_replica if spec else options.accelerators_per_replica
        cost, idle_w, full_w = self._price(name, spec, count)
        cold_start_s = (spec.cold_start_s if spec else None) or options.cold_start
        if cold_start_s is None:
            cold_start_s = ASSUMED_COLD_START_S
            self._assume(f"from asked for to ready: {cold_start_s:g} s (--cold-start)")
        return Supply(
            accelerator=name,
            accelerators_per_replica=count,
            cost_per_hour=cost,
            idle_w=idle_w,
            full_w=full_w,
            cold_start_s=cold_start_s,
            min_replicas=spec.min_replicas if spec is not None else options.min_replicas,
            max_replicas=spec.max_replicas if spec is not None else options.max_replicas,
            max_batch_size=options.max_batch_size,
            profile=self._profile(variant, name),
            routing_weight=(spec.routing_weight if spec is not None else None) or 1.0,
        )

    def router(self, model: str) -> str:
        """Return the router of a model: of the flag, else one that follows the settings' law."""
        own = self.settings.models.get(model) if self.settings is not None else None
        law = self.options.routing or (own.routing if own is not None else "learned")
        if law in ROUTERS:
            return str(law)
        if law == "separate":
            self._assume(
                f"{model}: its variants' requests are separate; in the simulation they go to any, "
                f"{ASSUMED_ROUTER} (give each variant a model of its own)"
            )
        return ASSUMED_ROUTER

    def _price(self, name: str, spec: Variant | None, count: int) -> tuple[float, float, float]:
        told = self._accelerator(name)
        known = assume(name)
        cost = self.options.cost_per_hour
        if spec is not None and spec.cost_per_hour is not None:
            cost = spec.cost_per_hour / count
        elif told is not None and told.cost_per_hour is not None:
            cost = told.cost_per_hour
        if cost is None:
            cost = known.cost_per_hour
            self._assume(f"price of one {name}: {cost:g} per hour (--cost-per-hour)")
        power = told.power_w if told is not None else None
        if power is None:
            return cost, known.power_idle_w, known.power_full_w
        return cost, power.idle, power.full

    def _accelerator(self, name: str) -> Accelerator | None:
        return None if self.settings is None else self.settings.accelerators.get(name)

    def _variant(self, variant: VariantName) -> Variant | None:
        for spec in self.settings.variants if self.settings is not None else ():
            if spec.key == (variant.namespace, variant.name):
                return spec
        return None

    def _class(self, namespace: str, model: str) -> ServiceClass | None:
        if self.settings is None:
            return None
        specs = [v for v in self.settings.variants if (v.namespace, v.model) == (namespace, model)]
        named = [v.service_class for v in specs if v.service_class is not None]
        own = self.settings.models.get(model)
        name = named[0] if named else (own.service_class if own is not None else None)
        return None if name is None else self.settings.service_classes.get(name)

    def _profile(self, variant: VariantName, accelerator: str) -> Profile | None:
        own = self.settings.models.get(variant.model) if self.settings is not None else None
        return None if own is None else own.profiles.get(accelerator)

    def _assume(self, what: str) -> None:
        self.assumptions[what] = None
