"""Pure decisions: how many replicas of which variant hold every SLO at the least cost.

Functions on frozen records; no I/O, no clock, no environment, no randomness, no logging.
"""

from .decision import Binding, Plan, PlanRequest, PlanState, Policy
from .domain import (
    BoolArray,
    EngineLimits,
    FloatArray,
    IntArray,
    ServiceProfiles,
    SloTargets,
    Trust,
    Workloads,
    aligned,
    rows_of,
)
from .errors import IdentifiabilityError, InvalidInputError, OptimizerError
from .estimator_state import Observations
from .plan import plan
from .priors import prior_kv_capacity_tokens, prior_profiles
from .published import seed_profiles
from .recall import Recall
from .router import Basis, Law, RoutingTable
from .supply import Supply, Uses
from .tables import ModelTable, ReplicaTable, SpotTable, VariantTable

__all__ = [
    "Basis",
    "Binding",
    "BoolArray",
    "EngineLimits",
    "FloatArray",
    "IdentifiabilityError",
    "IntArray",
    "InvalidInputError",
    "Law",
    "ModelTable",
    "Observations",
    "OptimizerError",
    "Plan",
    "PlanRequest",
    "PlanState",
    "Policy",
    "Recall",
    "ReplicaTable",
    "RoutingTable",
    "ServiceProfiles",
    "SloTargets",
    "SpotTable",
    "Supply",
    "Trust",
    "Uses",
    "VariantTable",
    "Workloads",
    "aligned",
    "plan",
    "prior_kv_capacity_tokens",
    "prior_profiles",
    "rows_of",
    "seed_profiles",
]
