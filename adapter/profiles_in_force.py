"""Profiles that a decision was made with, in the settings' terms, and whence they are. Pure."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from optimizer import EngineLimits, FloatArray, Plan, Trust, aligned, rows_of
from optimizer.profile_fit import FitStatus

from .catalog import Catalog
from .records import Publication

__all__ = ["profile_basis", "profile_columns", "profile_of"]

_PREFIX = "profile."
_FACTOR = "predicted.profile_ratio"


def profile_columns(plan: Plan, limits: EngineLimits, catalog: Catalog) -> dict[str, FloatArray]:
    """Return the parameters and limits in force, and how well learned ones are known.

    NaN: none, unlimited or not known. The errors are only those of learned profiles.
    """
    estimator, profiles = plan.state.estimator, plan.profiles
    rows = rows_of(catalog.variant_names, estimator.names)
    learned = plan.trust == Trust.LEARNED
    columns = {
        "alpha_ms": 1e3 * profiles.iteration_base_s,
        "beta_ms": 1e3 * profiles.decode_slope_s,
        "beta_prefill_ms": 1e3 * profiles.prefill_slope_s,
        "gamma_ms": 1e3 * profiles.kv_slope_s,
        "ttft_constant_ms": 1e3 * profiles.ttft_constant_s,
        "max_batch_size": limits.max_batch_size.astype(float),
        "max_batched_tokens": limits.max_batched_tokens,
        "max_queue_size": limits.max_queue_size.astype(float),
        "kv_capacity_tokens": limits.kv_capacity_tokens,
        "fit_error_ratio": np.where(learned, aligned(estimator.error, rows), np.nan),
        "capacity_error_ratio": np.where(learned, aligned(estimator.capacity_error, rows), np.nan),
    }
    return {
        _PREFIX + name: np.where(np.isfinite(column), column, np.nan)
        for name, column in columns.items()
    }


def profile_basis(plan: Plan, catalog: Catalog) -> tuple[str, ...]:
    """Return what each profile rests on: a prior's origin, a fit's status, "" for given ones."""
    estimator = plan.state.estimator
    row = {name: i for i, name in enumerate(estimator.names)}

    def basis(name: str, trust: int, origin: str) -> str:
        if trust >= Trust.GIVEN:
            return ""
        status = int(estimator.status[row[name]]) if name in row else FitStatus.SEED
        return origin if status == FitStatus.SEED else FitStatus(status).name.lower()

    each = zip(catalog.variant_names, plan.trust.tolist(), catalog.prior_origin, strict=True)
    return tuple(basis(*one) for one in each)


def profile_of(publication: Publication, row: int) -> Mapping[str, Any]:
    """Return one variant's profile, ready for `json.dumps`; None: not known."""
    numbers = {
        name.removeprefix(_PREFIX): _number(float(column[row]))
        for name, column in publication.details.items()
        if name.startswith(_PREFIX)
    }
    factor = publication.details.get(_FACTOR)
    return {
        "source": _word(publication, "profile", row),
        "basis": _word(publication, "profile_basis", row),
        "factor": None if factor is None else _number(float(factor[row])),
        **numbers,
    }


def _word(publication: Publication, text: str, row: int) -> str:
    column = publication.texts.get(text)
    return "" if column is None else column[row]


def _number(value: float) -> float | None:
    return float(f"{value:.9g}") if math.isfinite(value) else None
