"""The demo's world: two models, three variants, two accelerators, one burst.

Timing laws: Llama-3.1-8B on H100 and L40S from operator-database estimates
(aiconfigurator 0.12, vLLM backend, bf16: decode base, decode slope, prefill slope, KV
slope), Qwen2.5-14B on H100 from measured sweeps (llm-inferno model-trainer, fitted with
its own prefill slope and a TTFT constant). KV capacity: 0.9 of the card's memory less
weights and activations. Lengths: the moments of the Azure 2023 conversation trace
(CC BY 4.0; Patel et al., Splitwise, ISCA 2024), lognormal. Presentation is not its business.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from optimizer.errors import InvalidInputError

from .attainment import Attainment, RequestRecord, Target
from .cluster import Cluster
from .engine import EngineSpec
from .hpa_spec import Behavior, HpaSpec, Policy, ScalingRules
from .replica import Variant
from .router import LeastLoaded
from .workload import Lengths, RateProfile, RequestStream, Workload

__all__ = ["Accelerator", "DemoModel", "DemoScenario", "DemoVariant", "build_cluster", "demo"]

SHORTEST_S = 60.0

# How fast a ramp may climb so that a fleet that starts replicas in COLD_START_S can follow.
CLIMB_RPS_PER_S = 0.15
COLD_START_S = 5.0
HPA_SYNC_S = 2.0

PROMPT = Lengths(mean_tokens=1155.0, cv=0.96, min_tokens=16, max_tokens=6144)
OUTPUT = Lengths(mean_tokens=211.0, cv=0.77, min_tokens=4, max_tokens=1024)
MAX_MODEL_LEN = 8192

LLAMA_H100 = EngineSpec(
    iteration_base_s=6.26e-3,
    decode_slope_s=1.27e-5,
    prefill_slope_s=2.08e-5,
    kv_slope_s=4.1e-8,
    ttft_constant_s=10.8e-3,
    max_num_seqs=64,
    num_gpu_blocks=26500,
)
LLAMA_L40S = EngineSpec(
    iteration_base_s=22.0e-3,
    decode_slope_s=4.5e-5,
    prefill_slope_s=6.96e-5,
    kv_slope_s=1.86e-7,
    ttft_constant_s=10.8e-3,
    max_num_seqs=64,
    num_gpu_blocks=11500,
)
QWEN_H100 = EngineSpec(
    iteration_base_s=10.2e-3,
    decode_slope_s=1.32e-5,
    prefill_slope_s=3.97e-5,
    kv_slope_s=9.9e-8,
    ttft_constant_s=15.1e-3,
    max_num_seqs=64,
    num_gpu_blocks=12250,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """What one costs and draws."""

    name: str
    cost_per_hour: float
    idle_w: float
    full_w: float
    memory_gib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoModel:
    """A model, what its users want, and what they send."""

    name: str
    target: Target
    percentile: int
    workload: Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoVariant:
    """A variant, its HPA, and how many replicas it starts with."""

    variant: Variant
    hpa: HpaSpec
    initial_replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoScenario:
    """Everything that happens, with times from the start."""

    duration_s: float
    burst_start_s: float
    burst_end_s: float
    cold_start_s: float
    hpa_sync_s: float
    accelerators: tuple[Accelerator, ...]
    models: tuple[DemoModel, ...]
    variants: tuple[DemoVariant, ...]

    def cost_per_hour(self, replicas: Mapping[str, int]) -> float:
        """Return what so many replicas of each variant cost."""
        price = {each.name: each.cost_per_hour for each in self.accelerators}
        return sum(
            price[each.variant.accelerator] * replicas.get(each.variant.name, 0)
            for each in self.variants
        )

    def excused(self, window_start_s: float, *, width_s: float, tick_s: float) -> bool:
        """Tell whether a window touches the burst or the time it takes to answer it."""
        over_s = self.burst_end_s + self.cold_start_s + tick_s
        return window_start_s + width_s > self.burst_start_s and window_start_s < over_s


def demo(duration_s: float = 300.0) -> DemoScenario:
    """Return the scenario stretched to `duration_s`, at least 60."""
    if not SHORTEST_S <= duration_s < float("inf"):
        raise InvalidInputError(
            f"duration_s is {duration_s}; at least {SHORTEST_S:g} is needed for replicas "
            "to start, serve and stop"
        )
    return DemoScenario(
        duration_s=duration_s,
        burst_start_s=0.40 * duration_s,
        burst_end_s=0.60 * duration_s,
        cold_start_s=COLD_START_S,
        hpa_sync_s=HPA_SYNC_S,
        accelerators=(
            Accelerator(name="H100", cost_per_hour=4.10, idle_w=120, full_w=700, memory_gib=80),
            Accelerator(name="L40S", cost_per_hour=1.20, idle_w=60, full_w=350, memory_gib=48),
        ),
        models=(
            _model("llama-3.1-8b", duration_s, base_rps=8.0, ramp_rps=12.0, burst_rps=46.0),
            _model("qwen2.5-14b", duration_s, base_rps=4.0, ramp_rps=6.0, burst_rps=28.0),
        ),
        variants=(
            _variant("llama-8b-h100", "llama-3.1-8b", "H100", LLAMA_H100, weight=45.0),
            _variant("llama-8b-l40s", "llama-3.1-8b", "L40S", LLAMA_L40S, weight=22.0),
            _variant("qwen-14b-h100", "qwen2.5-14b", "H100", QWEN_H100, weight=40.0),
        ),
    )


def build_cluster(
    scenario: DemoScenario,
    *,
    random: np.random.Generator,
    start_s: float,
    on_end: Callable[[RequestRecord], None] = lambda _: None,
) -> Cluster:
    """Return the scenario's cluster at its first moment, its first replicas ready."""
    cluster = Cluster(
        [each.variant for each in scenario.variants],
        {
            model.name: RequestStream(workload=model.workload, random=own, start_s=start_s)
            for model, own in zip(scenario.models, random.spawn(len(scenario.models)), strict=True)
        },
        routers={model.name: LeastLoaded() for model in scenario.models},
        attainment=Attainment(
            {model.name: model.target for model in scenario.models}, start_s=start_s
        ),
        start_s=start_s,
        on_end=on_end,
    )
    for each in scenario.variants:
        cluster.set_replicas(each.variant.name, each.initial_replicas, cold_start_s=0.0)
    return cluster


def _model(
    name: str, duration_s: float, *, base_rps: float, ramp_rps: float, burst_rps: float
) -> DemoModel:
    return DemoModel(
        name=name,
        target=Target(ttft_s=1.0, itl_s=0.050),
        percentile=95,
        workload=Workload(
            profile=_profile(duration_s, base_rps, ramp_rps, burst_rps),
            prompt=PROMPT,
            output=OUTPUT,
        ),
    )


def _profile(duration_s: float, base_rps: float, ramp_rps: float, burst_rps: float) -> RateProfile:
    """Return base, a ramp, a burst, back to where the ramp ended, down to base."""
    share = (0.0, 0.08, 0.36, 0.40, 0.42, 0.60, 0.62, 0.66, 0.76)
    climbing_s = (0.36 - 0.08) * duration_s
    top_rps = base_rps + min(ramp_rps, CLIMB_RPS_PER_S * climbing_s)
    rates = (base_rps, base_rps, top_rps, top_rps, burst_rps, burst_rps, top_rps, top_rps)
    return RateProfile(
        times_s=tuple(part * duration_s for part in share), rates_rps=(*rates, base_rps)
    )


def _variant(
    name: str, model: str, accelerator: str, engine: EngineSpec, *, weight: float
) -> DemoVariant:
    """Return a variant; `weight` is what a replica holds in flight at its targets."""
    free = ScalingRules(policies=(Policy("Pods", 1000, 15.0),), tolerance=0.0)
    return DemoVariant(
        variant=Variant(
            name=name,
            model=model,
            accelerator=accelerator,
            engine=engine,
            max_model_len=MAX_MODEL_LEN,
            cold_start_s=COLD_START_S,
            weight=weight,
        ),
        hpa=HpaSpec(
            min_replicas=1,
            max_replicas=8,
            behavior=Behavior(scale_up=free, scale_down=free),
        ),
        initial_replicas=1,
    )
