"""The table of gauges per variant: names, help texts, and the columns that they show.

Names are a promise to whoever has dashboards and alerts; a test pins them. Base units are
in the names, and one more label tells states of one thing apart.
"""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = [
    "AGE",
    "BINDING",
    "BRAKE",
    "DETAILS",
    "FAMILIES",
    "FRESHNESS",
    "HPA_LIMIT",
    "INFO",
    "SERVED",
    "STUCK",
    "Family",
]


class Family(NamedTuple):
    """A gauge, and the columns that it shows: by value of one more label, or one alone."""

    name: str
    help: str
    columns: Mapping[str, str]
    label: str = ""


def _one(name: str, help_text: str, column: str) -> Family:
    return Family(name, help_text, {"": column})


def _statistics(prefix: str) -> dict[str, str]:
    return {
        "mean": f"{prefix}_mean_s",
        **{f"p{p}": f"{prefix}_p{p}_s" for p in (50, 90, 95, 99)},
    }


# Served metrics, by column of `Publication.values`. Desired and ratio become what is held.
SERVED: tuple[Family, ...] = (
    _one(
        "wva_desired_replicas",
        "Replicas that the adapter asks for. While its readings are too old: the larger of "
        "the last decision and what is there.",
        "wva_desired_replicas",
    ),
    _one(
        "wva_current_replicas",
        "Replicas that the scale target has now, starting ones included.",
        "wva_current_replicas",
    ),
    _one(
        "wva_desired_ratio",
        "Desired replicas divided by current ones; desired replicas where there are none.",
        "wva_desired_ratio",
    ),
    _one(
        "wva_recommended_replicas",
        "The decision before it is held back by observe or paused mode.",
        "wva_recommended_replicas",
    ),
    _one(
        "wva_utilization",
        "Arrival rate divided by the largest rate that the current replicas carry within "
        "the SLO; above 1 they can't hold it.",
        "wva_utilization",
    ),
    _one(
        "wva_desired_traffic_ratio",
        "Share of the model's traffic that the decision assumes for the variant, 0 to 1.",
        "wva_desired_traffic_ratio",
    ),
)

# Numbers behind the decision, by column of `Publication.details`.
DETAILS: tuple[Family, ...] = (
    _one(
        "wva_demand_requests_per_second",
        "Requests offered to the variant's engines, rejected ones included.",
        "input.arrival_rate_rps",
    ),
    _one(
        "wva_planned_requests_per_second",
        "Share of the model's demand that the decision gives to the variant.",
        "predicted.share_rps",
    ),
    _one(
        "wva_capacity_requests_per_second",
        "Largest arrival rate of one replica within the SLO and the stability margin.",
        "predicted.capacity_rps",
    ),
    Family(
        "wva_engine_requests",
        "Requests inside the variant's engines, by state.",
        {"running": "input.running_requests", "waiting": "input.waiting_requests"},
        "state",
    ),
    Family(
        "wva_request_tokens_mean",
        "Mean tokens of a request, by part.",
        {"prompt": "input.prompt_tokens_mean", "output": "input.output_tokens_mean"},
        "part",
    ),
    _one(
        "wva_kv_usage_ratio",
        "KV cache in use, mean over the variant's replicas, 0 to 1.",
        "input.kv_usage_ratio",
    ),
    _one(
        "wva_prefix_hit_ratio",
        "Share of prompt tokens that the prefix cache saves, at its recent low, 0 to 1.",
        "input.prefix_hit_ratio",
    ),
    _one("wva_ready_replicas", "Replicas that take requests.", "input.ready_replicas"),
    Family(
        "wva_bound_replicas",
        "Replicas that each consideration alone would ask for or allow.",
        {
            "model": "bound.model_replicas",
            "saturation": "bound.saturation_replicas",
            "min": "bound.min_replicas",
            "max": "bound.max_replicas",
            "brakes": "bound.after_brakes_replicas",
        },
        "bound",
    ),
    _one(
        "wva_hpa_nudge_replicas",
        "Replicas added to the published figure so that HPA doesn't ignore it as within "
        "its tolerance.",
        "bound.hpa_nudge_replicas",
    ),
    _one("wva_slo_ttft_seconds", "Target of the time to first token.", "slo.ttft_s"),
    _one("wva_slo_itl_seconds", "Target of the inter-token latency.", "slo.itl_s"),
    _one(
        "wva_slo_percentile_ratio",
        "Share of requests that the targets are promised to, 0 to 1.",
        "slo.percentile_ratio",
    ),
    Family(
        "wva_predicted_ttft_seconds",
        "Time to first token that the model predicts at the desired replicas: the mean, and "
        "the percentile that the SLO names.",
        {"mean": "predicted.ttft_mean_s", "slo": "predicted.ttft_s"},
        "statistic",
    ),
    Family(
        "wva_predicted_itl_seconds",
        "Inter-token latency that the model predicts at the desired replicas: the mean, and "
        "the percentile that the SLO names.",
        {"mean": "predicted.itl_mean_s", "slo": "predicted.itl_s"},
        "statistic",
    ),
    Family(
        "wva_measured_ttft_seconds",
        "Time to first token as the engines report it, over the window of readings.",
        _statistics("measured.ttft"),
        "statistic",
    ),
    Family(
        "wva_measured_itl_seconds",
        "Inter-token latency as the engines report it, over the window of readings.",
        _statistics("measured.itl"),
        "statistic",
    ),
    Family(
        "wva_cost_per_hour",
        "Price of the variant's replicas in the settings' currency, for the replicas that "
        "are there and for the desired ones.",
        {"current": "cost.now_per_hour", "desired": "cost.desired_per_hour"},
        "replicas",
    ),
    Family(
        "wva_power_watts",
        "Electrical power of the variant's accelerators: modelled for the desired replicas, "
        "or measured (DCGM).",
        {"modelled": "power.modelled_w", "measured": "power.measured_w"},
        "kind",
    ),
)

# The state that a decision is in, which the collector works out.
FRESHNESS = Family(
    "wva_decision_freshness",
    "1 for the state that the decision is in, 0 for the others: fresh, held (it may not "
    "fall) or refused (the API answers 503).",
    {},
    "state",
)
BINDING = Family(
    "wva_decision_binding",
    "1 for the constraint that decided the variant's count; no sample for the others.",
    {},
    "constraint",
)
BRAKE = Family(
    "wva_decision_brake",
    "1 for the brake that held the decision back; no sample where none did.",
    {},
    "brake",
)
HPA_LIMIT = Family(
    "wva_hpa_limit",
    "1 for the reason by which the HPA that follows the decision doesn't; no sample where it does.",
    {},
    "reason",
)
STUCK = Family(
    "wva_replicas_stuck",
    "1 for what keeps replicas from starting: stockout, crashloop, imagepull; else no sample.",
    {},
    "reason",
)
FALLBACK = _one(
    "wva_fallback_can_lower",
    "1 where the ScaledObject's fallback can lower replicas while the adapter doesn't answer; "
    "else no sample.",
    "risk",
)
AGE = _one(
    "wva_reading_age_seconds",
    "Age of the last reading of the variant's engines; no sample if there was none.",
    "age_s",
)
INFO = _one("wva_variant_info", "1; what else is known of the variant, in labels.", "one")

FAMILIES = (
    *SERVED, *DETAILS, FRESHNESS, BINDING, BRAKE, HPA_LIMIT, STUCK, FALLBACK, AGE, INFO
)  # fmt: skip
