"""Predicted latencies against the simulator's engine: is the queueing model right?

One replica, Poisson arrivals, prompt and output lengths lognormal with CV 1, at a grid of
models, lengths and utilizations (arrival rate over the service rate of a full batch). The
engine schedules as vLLM does and knows nothing of the model. Beside our errors stand
those of the peer's three-parameter model, which knows means alone: what it takes for the
TTFT of an SLO is its mean.

Arrivals that cluster and prompts from the prefix cache: `accuracy_tails`.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from optimizer import EngineLimits, FloatArray, IntArray, ServiceProfiles, Workloads
from optimizer.latency import Prediction, predict
from simulator.engine import EngineSpec, RequestStatus, simulate
from tests.parity.model_a import ModelA, analyze

from .report import Row, run_bench

COMMAND = "python -m bench accuracy_engine"
PERCENTILE = 0.95
UTILIZATIONS = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95)
# The goal for TTFT holds up to here; beyond, a point hangs on the last per cent of the rate.
LARGEST_JUDGED = 0.9
BLOCK_TOKENS = 16
QUEUE = 1 << 20
# Requests per round, and rounds at most, until the engine's own percentile is this sure.
ROUND = {0.2: 200_000, 0.4: 300_000, 0.6: 500_000}
LARGE_ROUND = 1_000_000
MOST_ROUNDS = 8
MOST_ROUNDS_UNJUDGED = 3
STANDARD_ERROR = 0.03
BATCHES = 10
WARM_UP = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model on its accelerators (milliseconds per ...), and a workload."""

    name: str
    base: float
    decode: float
    prefill: float
    kv: float
    kv_tokens: int
    prompt_tokens: int
    output_tokens: int
    batch: int
    budget: int = 8192

    def spec(self) -> EngineSpec:
        return EngineSpec(
            iteration_base_s=self.base * 1e-3,
            decode_slope_s=self.decode * 1e-3,
            prefill_slope_s=self.prefill * 1e-3,
            kv_slope_s=self.kv * 1e-3,
            max_num_seqs=self.batch,
            max_num_batched_tokens=self.budget,
            num_gpu_blocks=self.kv_tokens // BLOCK_TOKENS + 1,
            block_size=BLOCK_TOKENS,
        )


def _case(name: str, law: tuple[float, ...], lengths: tuple[int, int], **more: int) -> Case:
    base, decode, prefill, kv, kv_tokens = law
    return Case(
        name=f"{name} {lengths[0]}/{lengths[1]}",
        base=base,
        decode=decode,
        prefill=prefill,
        kv=kv,
        kv_tokens=int(kv_tokens),
        prompt_tokens=lengths[0],
        output_tokens=lengths[1],
        **more,
    )


# Fits of measurements and of operator databases, in ms and KV tokens. Dense models: Llama
# 3.1 8B on an H100 and on an L40S, Qwen3 32B on two H100, Llama 3.1 70B on four H100 and
# in fp8 on one H200; mixtures of experts: gpt-oss-120b on two H200, MiniMax M2.5 on four.
LLAMA_8B = (6.36, 0.0212, 0.0212, 5.83e-5, 430e3)
LLAMA_8B_L40S = (22.0, 0.0450, 0.0696, 1.86e-4, 180e3)
QWEN_32B = (13.5, 0.0279, 0.0512, 4.2e-5, 276e3)
LLAMA_70B = (15.2, 0.0296, 0.0626, 2.7e-5, 430e3)
LLAMA_70B_H200 = (20.7, 0.0771, 0.106, 6.66e-5, 160e3)
GPT_OSS = (4.35, 0.148, 0.0212, 2.8e-6, 2.6e6)
MINIMAX = (11.6, 0.191, 0.0283, 1.27e-5, 1.1e6)

CASES = (
    _case("llama-8b h100", LLAMA_8B, (512, 256), batch=256),
    _case("llama-8b h100", LLAMA_8B, (128, 128), batch=64),
    _case("llama-8b h100 code", LLAMA_8B, (2048, 32), batch=128),
    _case("llama-8b l40s", LLAMA_8B_L40S, (256, 512), batch=64),
    _case("llama-8b l40s kv", LLAMA_8B_L40S, (2048, 128), batch=128),
    _case("qwen-32b 2xh100", QWEN_32B, (1024, 256), batch=128),
    _case("qwen-32b 2xh100 kv", QWEN_32B, (4000, 1000), batch=256),
    _case("llama-70b 4xh100 kv", LLAMA_70B, (2048, 512), batch=256),
    _case("llama-70b 4xh100", LLAMA_70B, (4096, 256), batch=64),
    _case("llama-70b h200 kv", LLAMA_70B_H200, (1024, 256), batch=256),
    _case("gpt-oss 2xh200", GPT_OSS, (1024, 1024), batch=256),
    _case("gpt-oss 2xh200 long", GPT_OSS, (8192, 512), batch=256),
    _case("minimax 4xh200 chat", MINIMAX, (1155, 211), batch=128),
    _case("minimax small budget", MINIMAX, (1155, 211), batch=128, budget=2048),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of the grid: what the engine gave, what was predicted."""

    case: Case
    utilization: float
    requests: int
    ttft_s: float
    standard_error: float
    itl_mean_s: float
    itl_s: float
    ttft_error: float
    itl_mean_error: float
    itl_error: float
    peer_ttft_error: float
    peer_itl_mean_error: float

    @property
    def judged(self) -> bool:
        return self.utilization <= LARGEST_JUDGED and self.standard_error <= STANDARD_ERROR


def measure() -> list[Row]:
    """Compare predicted latencies with the simulator's engine over a grid of points."""
    print(_HEADER)
    points = []
    grid = [(case, utilization) for case in CASES for utilization in UTILIZATIONS]
    # Nothing is timed here, so that every core may help.
    with ProcessPoolExecutor() as pool:
        for point in pool.map(_point, *zip(*grid, strict=True)):
            points.append(point)
            print(_line(point), flush=True)
    return _rows(points)


def _point(case: Case, utilization: float) -> Point:
    seed = [CASES.index(case), UTILIZATIONS.index(utilization)]
    random = np.random.default_rng(seed)
    count = ROUND.get(utilization, LARGE_ROUND)
    prompts, outputs = _lengths(case, random, count)
    workloads = _workloads(prompts, outputs)
    rate = utilization / _predict(case, workloads, 1.0).utilization[0]
    seen = _Seen(MOST_ROUNDS if utilization <= LARGEST_JUDGED else MOST_ROUNDS_UNJUDGED)
    while not seen.sure():
        arrivals = np.cumsum(random.exponential(1.0 / rate, count))
        seen.add(case.spec(), arrivals, prompts, outputs)
        prompts, outputs = _lengths(case, random, count)
    ours = _predict(case, workloads, rate)
    peer_ttft_s, peer_itl_s = _peer(case, workloads, rate)
    return Point(
        case=case,
        utilization=utilization,
        requests=seen.requests,
        ttft_s=seen.ttft_s,
        standard_error=seen.standard_error,
        itl_mean_s=seen.itl_mean_s,
        itl_s=seen.itl_s,
        ttft_error=ours.ttft_s[0] / seen.ttft_s - 1.0,
        itl_mean_error=ours.itl_mean_s[0] / seen.itl_mean_s - 1.0,
        itl_error=ours.itl_s[0] / seen.itl_s - 1.0,
        peer_ttft_error=peer_ttft_s / seen.ttft_s - 1.0,
        peer_itl_mean_error=peer_itl_s / seen.itl_mean_s - 1.0,
    )


class _Seen:
    """Percentiles of an engine run round by round, with batch means for their error."""

    def __init__(self, most_rounds: int) -> None:
        self.most_rounds = most_rounds
        self.requests = 0
        self.rounds = 0
        self._ttft: list[float] = []
        self._itl: list[float] = []
        self._itl_mean: list[float] = []

    def add(
        self, spec: EngineSpec, arrivals: FloatArray, prompts: IntArray, outputs: IntArray
    ) -> None:
        outcome = simulate(spec, arrivals, prompts, outputs)
        if not np.all(outcome.status == RequestStatus.FINISHED):
            raise RuntimeError("the engine left requests unfinished")
        kept = slice(int(WARM_UP * len(arrivals)), None)
        gaps = np.array_split(outcome.itl_s[kept], BATCHES)
        several = np.array_split(outputs[kept] > 1, BATCHES)
        for ttft, itl, more in zip(
            np.array_split(outcome.ttft_s[kept], BATCHES), gaps, several, strict=True
        ):
            self._ttft.append(float(np.quantile(ttft, PERCENTILE)))
            self._itl.append(float(np.quantile(itl[more], PERCENTILE)))
            self._itl_mean.append(float(itl[more].mean()))
        self.requests += len(arrivals)
        self.rounds += 1

    def sure(self) -> bool:
        return self.rounds == self.most_rounds or (
            self.rounds > 0 and self.standard_error <= STANDARD_ERROR
        )

    @property
    def standard_error(self) -> float:
        """Of the TTFT percentile, relative."""
        spread = float(np.std(self._ttft, ddof=1))
        return spread / np.sqrt(len(self._ttft)) / self.ttft_s

    @property
    def ttft_s(self) -> float:
        return float(np.mean(self._ttft))

    @property
    def itl_s(self) -> float:
        return float(np.mean(self._itl))

    @property
    def itl_mean_s(self) -> float:
        return float(np.mean(self._itl_mean))


def _lengths(case: Case, random: np.random.Generator, count: int) -> tuple[IntArray, IntArray]:
    """Draw lengths, lognormal with CV 1, each at most a third of the KV cache."""
    sigma2 = np.log(2.0)
    drawn = []
    for mean in (case.prompt_tokens, case.output_tokens):
        tokens = np.rint(random.lognormal(np.log(mean) - sigma2 / 2.0, np.sqrt(sigma2), count))
        drawn.append(np.clip(tokens, 1, case.kv_tokens // 3).astype(np.int64))
    return drawn[0], drawn[1]


def _workloads(prompts: IntArray, outputs: IntArray) -> Workloads:
    def moment(lengths: IntArray, power: int) -> FloatArray:
        return np.array([(lengths.astype(np.float64) ** power).mean()])

    return Workloads(
        prompt_tokens_mean=moment(prompts, 1),
        prompt_tokens_second_moment=moment(prompts, 2),
        output_tokens_mean=moment(outputs, 1),
        output_tokens_second_moment=moment(outputs, 2),
        prefix_hit_ratio=np.zeros(1),
    )


def _predict(
    case: Case,
    workloads: Workloads,
    rate_rps: float,
    percentile: float = PERCENTILE,
    dispersion: float = 1.0,
) -> Prediction:
    profiles = ServiceProfiles(
        iteration_base_s=np.array([case.base * 1e-3]),
        decode_slope_s=np.array([case.decode * 1e-3]),
        prefill_slope_s=np.array([case.prefill * 1e-3]),
        kv_slope_s=np.array([case.kv * 1e-3]),
        ttft_constant_s=np.zeros(1),
    )
    limits = EngineLimits(
        max_batch_size=np.array([case.batch]),
        max_queue_size=np.array([QUEUE]),
        kv_capacity_tokens=np.array([float(case.kv_tokens)]),
        max_batched_tokens=np.array([float(case.budget)]),
    )
    return predict(
        profiles,
        workloads,
        limits,
        np.array([rate_rps]),
        percentile_ratio=np.array([percentile]),
        dispersion=np.array([dispersion]),
    )


def _peer(case: Case, workloads: Workloads, rate_rps: float) -> tuple[float, float]:
    """Return the mean TTFT and ITL of the peer's model, its one slope chosen for it.

    One token slope for prompt and output that does the same work; the batch limit is the
    engine's, since memory is not in the model.
    """
    inputs, outputs = workloads.prompt_tokens_mean, workloads.output_tokens_mean
    slope = (case.prefill * inputs + case.decode * outputs) / (inputs + outputs)
    model = ModelA(
        alpha_s=np.array([case.base * 1e-3]),
        beta_s=slope * 1e-3,
        gamma_s=np.array([case.kv * 1e-3]),
        input_tokens=inputs,
        output_tokens=outputs,
        max_batch_size=np.array([case.batch]),
        max_queue_size=np.array([10.0 * case.batch]),
    )
    found = analyze(model, np.array([rate_rps]))
    return float(found.ttft_s[0]), float(found.itl_s[0])


_HEADER = (
    f"  {'':24} {'util':>5} {'TTFT p95':>10} {'s.e.':>6} {'ours':>7} {'peer':>7}"
    f" {'ITL mean':>10} {'ours':>7} {'peer':>7} {'ITL p95':>9} {'ours':>7} {'requests':>10}"
)


def _line(p: Point) -> str:
    return (
        f"  {p.case.name:24} {p.utilization:5.2f} {p.ttft_s * 1e3:7.1f} ms {p.standard_error:6.1%}"
        f" {p.ttft_error:+7.1%} {p.peer_ttft_error:+7.1%} {p.itl_mean_s * 1e3:7.2f} ms"
        f" {p.itl_mean_error:+7.1%} {p.peer_itl_mean_error:+7.1%} {p.itl_s * 1e3:6.1f} ms"
        f" {p.itl_error:+7.1%} {p.requests:10,d}"
    )


def _rows(points: Sequence[Point]) -> list[Row]:
    """Return the figures that the accuracy goals are about."""

    def errors(name: str, *, judged: bool) -> FloatArray:
        return np.abs([getattr(p, name) for p in points if p.judged or not judged])

    ttft, peer_ttft = errors("ttft_error", judged=True), errors("peer_ttft_error", judged=True)
    itl, peer_itl = (
        errors("itl_mean_error", judged=False),
        errors("peer_itl_mean_error", judged=False),
    )
    itl_p95 = errors("itl_error", judged=False)
    unsure = sum(p.utilization <= LARGEST_JUDGED and not p.judged for p in points)
    return [
        _row("engine_points", len(points), "points", "at least 40", None),
        _row("engine_points_judged_on_ttft", len(ttft), "points", f"{unsure} too noisy", None),
        _error_row("engine_ttft_p95_error_median", np.median(ttft), np.median(peer_ttft)),
        _error_row(
            "engine_ttft_p95_error_nine_in_ten",
            np.quantile(ttft, 0.9),
            np.quantile(peer_ttft, 0.9),
        ),
        _row("engine_ttft_p95_within_30_percent", np.mean(ttft <= 0.3), "share", "0.9", None),
        _error_row("engine_itl_mean_error_median", np.median(itl), np.median(peer_itl)),
        _error_row("engine_itl_mean_error_largest", itl.max(), peer_itl.max()),
        _row("engine_itl_mean_within_5_percent", np.mean(itl <= 0.05), "share", "1", None),
        _row("engine_itl_p95_error_median", np.median(itl_p95), "ratio", "no goal", None),
    ]


def _error_row(name: str, ours: float, peer: float) -> Row:
    return _row(name, ours, "ratio", f"means-only model {peer:.3g}", ours / peer)


def _row(name: str, value: float, unit: str, baseline: str, ratio: float | None) -> Row:
    return Row(
        name=name,
        value=float(value),
        unit=unit,
        baseline=baseline,
        ratio=None if ratio is None else float(ratio),
        command=COMMAND,
    )


if __name__ == "__main__":
    run_bench(measure)
