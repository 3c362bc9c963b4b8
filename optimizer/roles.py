"""Prefill and decode apart: each role sized by its own work, both for the same requests.

A model that is served in two roles needs both for every request. A prefill replica computes
prompts (what the prefix cache doesn't have) and answers for the first token; a decode replica
holds the whole context and answers for the gaps. What one role can't carry the other needn't.
"""

from dataclasses import replace

import numpy as np

from .decision import PlanRequest
from .domain import BoolArray, FloatArray, IntArray

__all__ = [
    "PREFILL",
    "ROLES",
    "asked_of_roles",
    "in_roles",
    "joint_need",
    "joint_removable",
    "role_rows",
]

ROLES = 2
BOTH, PREFILL, DECODE = 0, 1, 2
# A decode replica gets its context from elsewhere: next to nothing is left to compute.
_ALL_THERE = 0.999


def role_rows(request: PlanRequest) -> IntArray:
    """Return the row of each variant's (model, role), shape (V,); decode has the odd rows."""
    supply = request.supply
    decodes = 0 if supply is None else (supply.role == DECODE).astype(np.int64)
    return np.asarray(request.variants.model * ROLES + decodes)


def in_roles(request: PlanRequest) -> PlanRequest:
    """Return the request in which each role has the work and the target of its own."""
    supply = request.supply
    if supply is None or not supply.role.any():
        return request
    prefill, decode = supply.role == PREFILL, supply.role == DECODE
    work, slo = request.workloads, request.slo
    return replace(
        request,
        workloads=replace(
            work,
            output_tokens_mean=np.where(prefill, 1.0, work.output_tokens_mean),
            output_tokens_second_moment=np.where(prefill, 1.0, work.output_tokens_second_moment),
            prefix_hit_ratio=np.where(decode, _ALL_THERE, work.prefix_hit_ratio),
        ),
        slo=replace(
            slo,
            ttft_s=np.where(decode, np.inf, slo.ttft_s),
            itl_s=np.where(prefill, np.inf, slo.itl_s),
        ),
    )


def joint_need(rows: IntArray, most_rps: FloatArray, need_rps: FloatArray) -> FloatArray:
    """Return the need of each (model, role), no more than the other role can go along with.

    Parameters
    ----------
    rows : array of int, shape (V,)
        As `role_rows` gives them.
    most_rps : array, shape (V,)
        What each variant carries at its upper bound. [requests/s]
    need_rps : array, shape (M,)
        [requests/s]

    Returns
    -------
    ndarray, shape (2 M,)
    """
    models = len(need_rps)
    number = np.bincount(rows, minlength=models * ROLES).reshape(models, ROLES)
    most = np.bincount(rows, weights=most_rps, minlength=models * ROLES).reshape(models, ROLES)
    both = (number > 0).all(axis=1)
    fed = np.where(both, np.minimum(need_rps, most.min(axis=1)), need_rps)
    return np.asarray(np.where(_has_role(number), fed[:, None], 0.0).ravel())


def asked_of_roles(rows: IntArray, need_rps: FloatArray) -> FloatArray:
    """Return what is asked of each role of each model, (M, 2): all of it, of those it has."""
    models = len(need_rps)
    number = np.bincount(rows, minlength=models * ROLES).reshape(models, ROLES)
    return np.where(_has_role(number), need_rps[:, None], 0.0)


def _has_role(number: IntArray) -> BoolArray:
    """Return which roles a model has; one without any variant still has the first."""
    has = number > 0
    has[:, 0] |= ~has.any(axis=1)
    return has


def joint_removable(rows: IntArray, removable: IntArray) -> IntArray:
    """Return what may go, nothing of a model of which one role lets nothing go."""
    models = int(rows.max(initial=0)) // ROLES + 1
    held = np.bincount(rows // ROLES, weights=removable == 0, minlength=models) > 0
    split = np.bincount(rows // ROLES, weights=rows % ROLES, minlength=models) > 0
    return np.where((held & split)[rows // ROLES], 0, removable)
