"""Profiles that the decision uses: given ones but for a factor, the rest learned from a seed."""

from dataclasses import replace

import numpy as np

from .correction import CorrectionState, corrected
from .decision import PlanRequest
from .domain import BoolArray, FloatArray, ServiceProfiles, Trust
from .estimation import EstimatorSettings, learned, update
from .estimator_state import EstimatorState

__all__ = ["with_learned_profiles"]


def with_learned_profiles(
    request: PlanRequest,
) -> tuple[PlanRequest, EstimatorState, CorrectionState]:
    """Return the request with the profiles in force, and what they are learned from next.

    Parameters
    ----------
    request : PlanRequest
        Its `profiles` are what somebody gave (trust GIVEN or FIXED) or a prior (the seed).

    Returns
    -------
    PlanRequest
        `profiles` and `variants.trust` are those to decide with.
    EstimatorState, CorrectionState
        Know this request's observations.
    """
    if not request.policy.profile_learning:
        names = request.variant_names
        return request, request.state.estimator, CorrectionState.empty(names)
    given = request.variants.trust >= Trust.GIVEN
    kept, correction = corrected(
        request.state.correction,
        request.profiles,
        names=request.variant_names,
        given=request.variants.trust == Trust.GIVEN,
        observations=request.observations,
        workloads=request.workloads,
        now_s=request.now_s,
        window_s=request.policy.observation_window_s,
    )
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
            name: _chosen(given, getattr(kept, name), getattr(found.profiles, name))
            for name in ServiceProfiles.__dataclass_fields__
        }
    )
    trust = np.where(given, request.variants.trust, found.trust)
    variants = replace(request.variants, trust=trust)
    return replace(request, profiles=profiles, variants=variants), estimator, correction


def _chosen(given: BoolArray, declared: FloatArray, found: FloatArray) -> FloatArray:
    return np.where(given, declared, found)
