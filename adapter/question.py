"""The question to the optimizer as the settings alone ask it: nothing runs, nothing was read. Pure.

Whoever knows more puts it in the place of what is said here: readings (analyze.py), or a file
of demands (plan_file.py).
"""

import numpy as np

from optimizer import (
    EngineLimits,
    FloatArray,
    IntArray,
    ModelTable,
    Observations,
    PlanRequest,
    Policy,
    RoutingTable,
    VariantTable,
    Workloads,
)

from .catalog import Catalog

__all__ = ["build_question", "queue_limit"]

# vLLM's own defaults, for engines that don't export theirs.
DEFAULT_MAX_BATCH_SIZE = 256.0
DEFAULT_MAX_BATCHED_TOKENS = 8192.0
QUEUE_PER_SLOT = 10.0


def build_question(
    catalog: Catalog, *, models: ModelTable, workloads: Workloads, policy: Policy
) -> PlanRequest:
    """Return the question with the lower bounds running and nothing read.

    Parameters
    ----------
    catalog : Catalog
    models : ModelTable, M rows
        What arrives.
    workloads : Workloads, V rows
        How long requests are.
    policy : Policy
    """
    return PlanRequest(
        variant_names=catalog.variant_names,
        model_names=catalog.model_names,
        variants=VariantTable.of(
            catalog.variant_model,
            cost_per_hour=catalog.cost_per_hour,
            power_idle_w=catalog.power_idle_w,
            power_full_w=catalog.power_full_w,
            min_replicas=catalog.min_replicas,
            max_replicas=catalog.max_replicas,
            current_replicas=catalog.min_replicas,
            paper_law=catalog.paper_law,
            trust=catalog.profile_trust,
            cold_start_s=catalog.cold_start_s,
        ),
        models=models,
        profiles=catalog.profiles,
        limits=_declared_limits(catalog),
        workloads=workloads,
        slo=catalog.slo,
        observations=Observations.none(len(catalog.variants)),
        policy=policy,
        supply=catalog.supply,
        spot=catalog.spot,
        routing=RoutingTable.of(
            catalog.routing_law, weight=catalog.routing_weight, takes_over=catalog.takes_over
        ),
    )


def _declared_limits(catalog: Catalog) -> EngineLimits:
    """Return the limits that command lines and profiles give, else the engine's defaults."""
    batch = np.round(_known(catalog.max_batch_size, DEFAULT_MAX_BATCH_SIZE))
    return EngineLimits(
        max_batch_size=np.maximum(batch, 1).astype(np.int64),
        max_queue_size=queue_limit(catalog, batch),
        kv_capacity_tokens=_known(catalog.kv_capacity_tokens, np.inf),
        max_batched_tokens=_known(catalog.max_batched_tokens, DEFAULT_MAX_BATCHED_TOKENS),
    )


def _known(declared: FloatArray, default: float) -> FloatArray:
    return np.where(np.isfinite(declared), declared, default)


def queue_limit(catalog: Catalog, batch: FloatArray) -> IntArray:
    """Return how many requests may wait beside a batch: as declared, else some per slot."""
    declared = catalog.max_queue_size
    return np.round(np.where(np.isfinite(declared), declared, batch * QUEUE_PER_SLOT)).astype(
        np.int64
    )
