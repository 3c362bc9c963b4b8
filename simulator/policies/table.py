"""Policies by name, with the settings that their sources give, and the grids around them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from optimizer.saturation import SaturationLimits
from optimizer.saturation_tokens import TokenThresholds

from ..closed_loop import PolicyFactory
from .clairvoyant import Clairvoyant
from .dynamo import dynamo_planner
from .hpa_signals import HpaSettings, hpa_on_engines
from .keda_queue import QueueSettings, keda_queue
from .keda_slo import SloLoopSettings, keda_slo
from .keda_tokens import TokenLoopSettings, keda_tokens
from .knative import KnativeSettings, knative
from .melange import Melange
from .oracle import Oracle
from .static import StaticPeak
from .upstream_wva import wva_v1, wva_v2

__all__ = ["BASELINES", "BOUNDS", "GRIDS", "Baseline", "baseline"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A policy to compare with."""

    about: str
    factory: PolicyFactory


def _hpa(settings: HpaSettings) -> PolicyFactory:
    return partial(hpa_on_engines, settings=settings)


def _slo(settings: SloLoopSettings) -> PolicyFactory:
    return partial(keda_slo, settings=settings)


def _tokens(settings: TokenLoopSettings) -> PolicyFactory:
    return partial(keda_tokens, settings=settings)


def _knative(settings: KnativeSettings) -> PolicyFactory:
    return partial(knative, settings=settings)


BASELINES: Mapping[str, Baseline] = {
    "static": Baseline("every variant at its maximum, always", StaticPeak),
    "melange": Baseline("the cheapest mix for the peak, always (Mélange)", Melange),
    "hpa-gpu": Baseline("HPA on GPU utilization 80 %", _hpa(HpaSettings(gpu_ratio=0.8))),
    "hpa-queue": Baseline("HPA on 5 waiting requests", _hpa(HpaSettings(waiting=5.0))),
    "hpa-kv": Baseline(
        "HPA on KV usage 0.5 and 3 waiting requests (WVA paper's baseline)",
        _hpa(HpaSettings(kv_ratio=0.5, waiting=3.0)),
    ),
    "wva-v1": Baseline("upstream WVA, percentage-based saturation", wva_v1),
    "wva-v2": Baseline("upstream WVA, token-based saturation", wva_v2),
    "keda-slo": Baseline("llm-d's SLO-aware KEDA loop", _slo(SloLoopSettings())),
    "keda-slo-mean": Baseline(
        "the same on means instead of percentiles", _slo(SloLoopSettings(mean_signal=True))
    ),
    "keda-queue": Baseline(
        "KEDA on 5 waiting requests, from and to zero",
        partial(keda_queue, settings=QueueSettings()),
    ),
    "keda-tokens": Baseline("llm-d's token-aware KEDA loop", _tokens(TokenLoopSettings())),
    "dynamo": Baseline("the law of Dynamo's planner", dynamo_planner),
    "knative": Baseline("Knative's concurrency law", _knative(KnativeSettings())),
}

# Who knows more than anybody can: by name, what is known, and the policy with some headroom.
BOUNDS: Mapping[str, tuple[str, Callable[[float], PolicyFactory]]] = {
    "clairvoyant": (
        "knows the future, pays cold starts",
        lambda headroom: partial(Clairvoyant, headroom_ratio=headroom),
    ),
    "oracle": (
        "knows the true present, with the same delays",
        lambda headroom: partial(Oracle, headroom_ratio=headroom),
    ),
}

# What a grid search tries beside the published settings.
GRIDS: Mapping[str, Mapping[str, PolicyFactory]] = {
    "hpa-kv": {
        f"kv {kv:g}, queue {queue:g}, down {down:g} s": _hpa(
            HpaSettings(kv_ratio=kv, waiting=queue, down_window_s=down)
        )
        for kv in (0.4, 0.5, 0.6, 0.7, 0.8)
        for queue in (1.0, 3.0)
        for down in (120.0, 300.0)
    },
    "hpa-queue": {
        f"queue {queue:g}, down {down:g} s": _hpa(HpaSettings(waiting=queue, down_window_s=down))
        for queue in (0.5, 1.0, 2.0, 5.0)
        for down in (120.0, 300.0, 600.0)
    },
    "hpa-gpu": {
        f"gpu {ratio:g}": _hpa(HpaSettings(gpu_ratio=ratio)) for ratio in (0.6, 0.7, 0.8, 0.9)
    },
    "keda-slo": {
        f"up {up:g}, down {down:g}": _slo(SloLoopSettings(up=up, down=down))
        for up, down in ((0.3, 0.2), (0.4, 0.3), (0.55, 0.4), (0.7, 0.5))
    },
    "keda-tokens": {
        f"tail {tail:g}, kv {kv:g}, down {down:g} s": _tokens(
            TokenLoopSettings(tail_ratio=tail, kv_ratio=kv, down_window_s=down)
        )
        for tail in (0.4, 0.65)
        for kv in (0.6, 0.8)
        for down in (120.0, 300.0)
    },
    "keda-queue": {
        f"queue {queue:g}, down {down:g} s": partial(
            keda_queue, settings=QueueSettings(waiting=queue, down_window_s=down)
        )
        for queue in (1.0, 2.0)
        for down in (120.0, 300.0)
    },
    "wva-v1": {
        f"spare kv {kv:g}, spare queue {queue:g}": partial(
            wva_v1, limits=SaturationLimits(spare_kv_ratio=kv, spare_queue_requests=queue)
        )
        for kv in (0.1, 0.2, 0.3, 0.4)
        for queue in (3.0, 4.0)
    },
    "wva-v2": {
        f"up {up:g}, down {down:g}": partial(
            wva_v2, thresholds=TokenThresholds(scale_up_ratio=up, scale_down_ratio=down)
        )
        for up, down in ((0.5, 0.4), (0.6, 0.5), (0.7, 0.55), (0.85, 0.7), (0.95, 0.8))
    },
    "dynamo": {
        f"interval {interval:g} s": partial(dynamo_planner, interval_s=interval)
        for interval in (30.0, 60.0, 120.0, 180.0)
    },
    "melange": {
        f"slack {slack:g}": partial(Melange, slack=slack) for slack in (0.8, 0.9, 1.0, 1.1, 1.25)
    },
    "knative": {
        f"down delay {delay:g} s": _knative(KnativeSettings(scale_down_delay_s=delay))
        for delay in (0.0, 60.0, 300.0)
    },
}


def baseline(policy: str, setting: str = "") -> PolicyFactory:
    """Return a policy with its published settings, a row of its grid, or a bound's headroom."""
    if policy in BOUNDS:
        return BOUNDS[policy][1](float(setting or 0.0))
    return GRIDS[policy][setting] if setting else BASELINES[policy].factory
