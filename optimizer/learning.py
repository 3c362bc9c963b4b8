"""Profiles that the decision uses: given ones as they are, the rest learned from a seed."""

from dataclasses import replace

import numpy as np

from .decision import PlanRequest
from .domain import FloatArray, ServiceProfiles, Trust
from .estimation import EstimatorSettings, learned, update
from .estimator_state import EstimatorState

__all__ = ["with_learned_profiles"]


def with_learned_profiles(request: PlanRequest) -> tuple[PlanRequest, EstimatorState]:
    """Return the request with the profiles in force, and the estimator's next state.

    Parameters
    ----------
    request : PlanRequest
        Its `profiles` are what somebody gave (trust GIVEN) or a prior (the seed).

    Returns
    -------
    PlanRequest
        `profiles` and `variants.trust` are those to decide with.
    EstimatorState
        Knows this request's observations.
    """
    if not request.policy.profile_learning:
        return request, request.state.estimator
    given = request.variants.trust == Trust.GIVEN
    estimator = update(
        request.state.estimator,
        names=request.variant_names,
        observations=request.observations,
        workloads=request.workloads,
        seed=request.profiles,
        now_s=request.now_s,
        limits=request.limits,
        slo=request.slo,
        settings=EstimatorSettings(spacing_s=request.policy.observation_window_s),
    )
    # The state may still lack the names if nothing has ever been observed.
    estimator = estimator.aligned(request.variant_names, EstimatorSettings())
    found = learned(estimator, request.profiles)
    profiles = ServiceProfiles(
        **{
            name: _chosen(given, getattr(request.profiles, name), getattr(found.profiles, name))
            for name in ServiceProfiles.__dataclass_fields__
        }
    )
    trust = np.where(given, np.int64(Trust.GIVEN), found.trust)
    variants = replace(request.variants, trust=trust)
    return replace(request, profiles=profiles, variants=variants), estimator


def _chosen(given: FloatArray, declared: FloatArray, found: FloatArray) -> FloatArray:
    return np.where(given, declared, found)
