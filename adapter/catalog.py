"""The declared world as columns: what the settings say of variants and models. Pure.

Built once per (re)load, so that a tick only looks things up.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optimizer import (
    BoolArray,
    FloatArray,
    IntArray,
    Law,
    ServiceProfiles,
    SloTargets,
    SpotTable,
    Supply,
    Trust,
    seed_profiles,
)
from optimizer.published import published_row

from .accelerators import assume
from .config import Model, Profile, ServiceClass, Settings, Variant
from .engine_columns import engine_columns
from .records import ModelKey, VariantKey
from .supply import build_supply

__all__ = ["Catalog", "build_catalog"]

DEFAULT_CLASS = ServiceClass()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalog:
    """Columns per variant (V rows) and per model (M rows), in the settings' order."""

    settings: Settings
    variants: tuple[VariantKey, ...]
    variant_names: tuple[str, ...]
    models: tuple[ModelKey, ...]
    model_names: tuple[str, ...]
    variant_model: IntArray
    labels: tuple[Mapping[str, str], ...]
    texts: Mapping[str, tuple[str, ...]]
    cost_per_hour: FloatArray
    power_idle_w: FloatArray
    power_full_w: FloatArray
    min_replicas: IntArray
    max_replicas: IntArray
    paper_law: BoolArray
    routing_law: IntArray  # an optimizer.Law, of the variant's model
    routing_weight: FloatArray  # NaN: not declared
    takes_over: IntArray  # row of the variant; -1: of none
    spot: SpotTable
    active: BoolArray
    observed: BoolArray
    cold_start_s: FloatArray  # NaN: not declared
    profile_trust: IntArray  # FIXED, GIVEN, PRIOR or NONE
    prior_origin: tuple[str, ...]  # of a PRIOR: published, roofline; "": none
    profiles: ServiceProfiles  # given, else the prior; NaN rows where a name says nothing
    max_batch_size: FloatArray  # by command line or profile; NaN: nothing says
    max_queue_size: FloatArray
    max_batched_tokens: FloatArray
    kv_capacity_tokens: FloatArray
    slo: SloTargets
    model_classes: tuple[ServiceClass, ...]  # per model
    accelerators: tuple[str, ...]
    accelerators_per_replica: IntArray
    supply: Supply


def build_catalog(settings: Settings) -> Catalog:
    """Return the columns that the settings declare."""
    declared = settings.variants
    keys = tuple(VariantKey(v.namespace, v.name) for v in declared)
    model_of = [ModelKey(v.namespace, v.model) for v in declared]
    models = tuple(dict.fromkeys(model_of))
    row = {key: i for i, key in enumerate(models)}
    classes = [_class_of(settings, v) for v in declared]
    profiles = [_model(settings, v.model).profiles.get(v.accelerator) for v in declared]
    costs = [_cost(settings, v) for v in declared]
    powers = [_power(settings, v) for v in declared]
    modes = [v.mode if v.mode != "active" else settings.mode for v in declared]
    known, trust = _with_priors(profiles, declared)
    engine = engine_columns(settings, profiles)
    return Catalog(
        settings=settings,
        variants=keys,
        variant_names=tuple(f"{k.namespace}/{k.name}" for k in keys),
        models=models,
        model_names=tuple(f"{k.namespace}/{k.model}" for k in models),
        variant_model=np.array([row[key] for key in model_of], dtype=np.int64),
        labels=tuple(_labels(settings, v) for v in declared),
        texts={
            "cost_source": tuple("assumed" if assumed else "settings" for _, assumed in costs),
            "mode": tuple(modes),
            "analyzer": tuple(v.analyzer for v in declared),
            "hold": tuple(v.hold or "" for v in declared),
            "spot": tuple(f"survives {v.spot.survive} lost" if v.spot else "" for v in declared),
            "takes_over": tuple(v.takes_over or "" for v in declared),
            "engine_arguments": engine.stated,
        },
        cost_per_hour=_floats([cost for cost, _ in costs]),
        power_idle_w=_floats([idle for idle, _ in powers]),
        power_full_w=_floats([full for _, full in powers]),
        min_replicas=_ints([v.min_replicas for v in declared]),
        max_replicas=_ints([v.max_replicas for v in declared]),
        paper_law=np.array([v.analyzer == "paper" for v in declared], dtype=np.bool_),
        routing_law=_ints([_law(settings, v) for v in declared]),
        takes_over=_taken_over(declared),
        spot=_spot(declared),
        routing_weight=_floats([_or_nan(v.routing_weight) for v in declared]),
        active=np.array([mode == "active" for mode in modes], dtype=np.bool_),
        observed=np.array([mode == "observe" for mode in modes], dtype=np.bool_),
        cold_start_s=_floats([_or_nan(v.cold_start_s) for v in declared]),
        profile_trust=trust,
        prior_origin=_prior_origin(declared, trust),
        profiles=known,
        max_batch_size=engine.max_batch_size,
        max_queue_size=engine.max_queue_size,
        max_batched_tokens=engine.max_batched_tokens,
        kv_capacity_tokens=engine.kv_capacity_tokens,
        slo=_slo(classes),
        model_classes=_classes_of_models(model_of, classes),
        accelerators=tuple(v.accelerator for v in declared),
        accelerators_per_replica=_ints([v.accelerators_per_replica for v in declared]),
        supply=build_supply(settings, models, costs=_floats([cost for cost, _ in costs])),
    )


def _floats(values: list[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)


def _ints(values: list[int]) -> IntArray:
    return np.array(values, dtype=np.int64)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _model(settings: Settings, name: str) -> Model:
    return settings.models.get(name) or Model()


def _law(settings: Settings, variant: Variant) -> int:
    """Return the law of a variant; what is held has requests of its own, whatever its model's."""
    if variant.hold is not None:
        return Law.SEPARATE
    return Law[_model(settings, variant.model).routing.upper()]


def _taken_over(declared: Sequence[Variant]) -> IntArray:
    """Return the row of the variant that each takes over, -1 where it is none that there is."""
    row = {variant.key: i for i, variant in enumerate(declared)}
    return _ints([row.get((v.namespace, v.takes_over or ""), -1) for v in declared])


def _spot(declared: Sequence[Variant]) -> SpotTable:
    given = [variant.spot for variant in declared]
    return SpotTable(
        interruptions_per_hour=_floats([s.interruptions_per_hour if s else 0.0 for s in given]),
        notice_s=_floats([s.notice_s if s else 0.0 for s in given]),
        survive=_ints([s.survive if s else 0 for s in given]),
    )


def _class_of(settings: Settings, variant: Variant) -> ServiceClass:
    name = variant.service_class or _model(settings, variant.model).service_class
    return settings.service_classes[name] if name is not None else DEFAULT_CLASS


def _classes_of_models(
    model_of: Sequence[ModelKey], classes: Sequence[ServiceClass]
) -> tuple[ServiceClass, ...]:
    """Return each model's class: the highest of its variants', in the models' order."""
    highest: dict[ModelKey, ServiceClass] = {}
    for key, each in zip(model_of, classes, strict=True):
        highest[key] = min(highest.get(key, each), each, key=lambda c: c.priority)
    return tuple(highest.values())


def _labels(settings: Settings, variant: Variant) -> dict[str, str]:
    labels = {
        "variant_name": variant.name,
        "namespace": variant.namespace,
        "exported_namespace": variant.namespace,
        "model_name": variant.model,
        "accelerator_type": variant.accelerator,
        "service_class": variant.service_class
        or _model(settings, variant.model).service_class
        or "default",
    }
    if settings.controller_instance:
        labels["controller_instance"] = settings.controller_instance
    return labels


def _cost(settings: Settings, variant: Variant) -> tuple[float, bool]:
    """Return the price of one replica per hour, and whether it is an assumption."""
    if variant.cost_per_hour is not None:
        return variant.cost_per_hour, False
    accelerator = settings.accelerators.get(variant.accelerator)
    if accelerator is not None and accelerator.cost_per_hour is not None:
        return accelerator.cost_per_hour * variant.accelerators_per_replica, False
    return assume(variant.accelerator).cost_per_hour * variant.accelerators_per_replica, True


def _power(settings: Settings, variant: Variant) -> tuple[float, float]:
    accelerator = settings.accelerators.get(variant.accelerator)
    count = variant.accelerators_per_replica
    if accelerator is not None and accelerator.power_w is not None:
        return accelerator.power_w.idle * count, accelerator.power_w.full * count
    assumed = assume(variant.accelerator)
    return assumed.power_idle_w * count, assumed.power_full_w * count


def _profiles(profiles: list[Profile | None]) -> ServiceProfiles:
    def column(*names: str) -> FloatArray:
        return _floats([_ms(profile, *names) for profile in profiles])

    return ServiceProfiles(
        iteration_base_s=column("alpha_ms"),
        decode_slope_s=column("beta_ms"),
        prefill_slope_s=column("beta_prefill_ms", "beta_ms"),
        kv_slope_s=column("gamma_ms"),
        ttft_constant_s=column("ttft_constant_ms"),
    )


def _with_priors(
    profiles: list[Profile | None], declared: Sequence[Variant]
) -> tuple[ServiceProfiles, IntArray]:
    """Fill in a published profile or the roofline's where none is given; say which is which."""
    prior = seed_profiles(
        [v.accelerator for v in declared],
        [v.model for v in declared],
        accelerators_per_replica=_ints([v.accelerators_per_replica for v in declared]),
    )
    given = _profiles(profiles)
    absent = np.isnan(given.iteration_base_s)
    filled = ServiceProfiles(
        **{
            name: np.where(absent, getattr(prior, name), getattr(given, name))
            for name in ServiceProfiles.__dataclass_fields__
        }
    )
    guessed = np.where(np.isfinite(filled.iteration_base_s), Trust.PRIOR, Trust.NONE)
    fixed = np.array([p is not None and p.fixed for p in profiles], dtype=np.bool_)
    stated = np.where(fixed, Trust.FIXED, Trust.GIVEN)
    return filled, np.where(absent, guessed, stated).astype(np.int64)


def _prior_origin(declared: Sequence[Variant], trust: IntArray) -> tuple[str, ...]:
    """Return where each profile that was neither given nor learned comes from."""
    return tuple(
        ""
        if each != Trust.PRIOR
        else "published"
        if published_row(v.model, v.accelerator, v.accelerators_per_replica)
        else "roofline"
        for v, each in zip(declared, trust.tolist(), strict=True)
    )


def _ms(profile: Profile | None, *names: str) -> float:
    """Return the first of the profile's attributes that is given, in seconds."""
    if profile is None:
        return math.nan
    given = (getattr(profile, name) for name in names)
    return float(next(value for value in given if value is not None)) / 1e3


def _slo(classes: list[ServiceClass]) -> SloTargets:
    return SloTargets(
        ttft_s=_floats([c.slo.ttft_s for c in classes]),
        itl_s=_floats([c.slo.itl_s for c in classes]),
        percentile_ratio=_floats([c.slo.percentile / 100.0 for c in classes]),
        throughput_tps=np.zeros(len(classes)),
    )
