"""The simulated engine against an independent one: the same requests, the same timing law.

    python -m bench.referee --install     # once: its own environment, 550 MB
    python -m bench.referee

The other is the engine simulator in ai-dynamo 1.2.1 (Apache-2.0, Rust: vLLM's scheduler, KV blocks,
chunked prefill, preemption), from the Python index, in an environment under bench/. Bounds: ITL and
TTFT mean within 5 %, p95 within 10 %. Known to differ: its step has no base time when it only
computes a part of a prompt, its KV tokens are counted in whole blocks, and once it preempts it
hardly recovers (5,000 blocks of 16 tokens for 45 requests of 1,300: TTFT of minutes), where ours,
as vLLM does, admits nobody in a step that preempts.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import simulator.engine
from simulator.engine import EngineSpec, RequestStatus, simulate
from simulator.workload import Lengths

from .report import Row, print_rows

__all__ = ["BOUNDS", "POINTS", "RESULTS", "Point", "compare", "engine_sha256", "reports_of"]

RESULTS = Path(__file__).with_name("proof_results") / "referee.json"
ENGINE = ("engine.py", "kernel.py", "state.py", "admission.py")
PACKAGES = ("ai-dynamo==1.2.1", "ai-dynamo-runtime==1.2.1")
FOLDER = Path(__file__).with_name(".referee") / "venv"
WORKER = Path(__file__).with_name("referee_worker.py")
REQUESTS = 3000
SEED = 11
TIMEOUT_S = 900
BOUNDS = {"TTFT mean": 0.05, "TTFT p95": 0.10, "ITL mean": 0.05, "ITL p95": 0.10}
BLOCK_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """The law of a step's time. [ms]"""

    base_ms: float
    decode_ms: float
    prefill_ms: float
    kv_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One operating point: a law, the engine's limits, lengths, and a rate."""

    name: str
    law: Law
    prompt: float
    output: float
    rate_rps: float
    cv: float = 0.5
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    num_gpu_blocks: int = 26_500


H100 = Law(base_ms=6.26, decode_ms=0.0127, prefill_ms=0.0208, kv_ms=0.000041)
A100 = Law(base_ms=11.8, decode_ms=0.0165, prefill_ms=0.0609, kv_ms=0.000082)
TIGHT, SHORT = {"num_gpu_blocks": 8000}, {"num_gpu_blocks": 4000}
SMALL = {"max_num_seqs": 64, "max_num_batched_tokens": 2048}

POINTS = (
    Point(name="chat, idle", law=A100, prompt=1155, output=211, rate_rps=0.5),
    Point(name="chat, half", law=A100, prompt=1155, output=211, rate_rps=4.0),
    Point(name="chat, busy", law=A100, prompt=1155, output=211, rate_rps=7.0),
    Point(name="chat on H100, half", law=H100, prompt=1155, output=211, rate_rps=10.0),
    Point(name="chat on H100, busy", law=H100, prompt=1155, output=211, rate_rps=19.0),
    Point(name="long prompts, idle", law=A100, prompt=4000, output=250, rate_rps=0.4),
    Point(name="long prompts, half", law=A100, prompt=4000, output=250, rate_rps=1.4),
    Point(name="long prompts, busy", law=A100, prompt=4000, output=250, rate_rps=2.2),
    Point(name="long outputs, half", law=A100, prompt=200, output=1000, rate_rps=2.0),
    Point(name="long outputs, busy", law=A100, prompt=200, output=1000, rate_rps=5.0),
    Point(name="symmetrical", law=A100, prompt=1000, output=1000, rate_rps=2.0),
    Point(name="even lengths", law=A100, prompt=512, output=128, rate_rps=8.0, cv=0.0),
    Point(name="64 slots, half", law=A100, prompt=500, output=250, rate_rps=6.0, **SMALL),
    Point(name="64 slots, full", law=A100, prompt=500, output=250, rate_rps=8.5, **SMALL),
    Point(name="KV memory tight", law=A100, prompt=1155, output=211, rate_rps=7.0, **TIGHT),
    Point(name="KV memory short", law=A100, prompt=1155, output=211, rate_rps=7.0, **SHORT),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What clients saw. [s]"""

    ttft_mean: float
    ttft_p95: float
    itl_mean: float
    itl_p95: float

    def errors(self, other: "Seen") -> dict[str, float]:
        """Return how far this is from the other, by figure."""
        pairs = zip(BOUNDS, asdict(self).values(), asdict(other).values(), strict=True)
        return {name: own / theirs - 1.0 for name, own, theirs in pairs}


def main() -> None:
    """Install where asked, else compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--install", action="store_true", help="make its environment")
    parser.add_argument("--json", type=Path, help="write rows to this file")
    options = parser.parse_args()
    if options.install:
        _install()
        return
    if not (FOLDER / "bin" / "python").exists():
        sys.exit(f"no {FOLDER}: run `python -m bench.referee --install` first")
    rows = compare(POINTS)
    print_rows(rows)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    content = {"engine_sha256": engine_sha256(), "errors": {row.name: row.value for row in rows}}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    outside = [row.name for row in rows if abs(row.value) > _bound(row)]
    print(f"{len(rows) - len(outside)} of {len(rows)} figures within their bounds")
    if outside:
        print("outside: " + "; ".join(outside))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _install() -> None:
    venv.create(FOLDER, with_pip=True)
    pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    subprocess.run([*pip, *PACKAGES], check=True)


def engine_sha256() -> str:
    """Return the hash of the code that decides what the engine does."""
    folder = Path(simulator.engine.__file__).parent
    return hashlib.sha256(b"".join((folder / n).read_bytes() for n in ENGINE)).hexdigest()


def compare(points: Sequence[Point]) -> list[Row]:
    """Return a row for each figure of each point: the relative difference of ours."""
    requests = [_requests(point) for point in points]
    theirs = _referee(points, requests)
    rows = []
    for point, own, other in zip(points, requests, theirs, strict=True):
        ours = _ours(point, own)
        for name, error in ours.errors(other).items():
            rows.append(
                Row(
                    name=f"{point.name}: {name}",
                    value=error,
                    unit="relative",
                    baseline=f"ai-dynamo 1.2.1, bound {BOUNDS[name]:.0%}",
                    ratio=1.0 + error,
                    command="python -m bench.referee",
                )
            )
    return rows


def _bound(row: Row) -> float:
    return BOUNDS[row.name.rpartition(": ")[2]]


Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


def _requests(point: Point) -> Columns:
    random = np.random.default_rng(SEED)
    arrival_s = np.cumsum(random.exponential(1.0 / point.rate_rps, REQUESTS))
    prompt, output = (
        Lengths(mean_tokens=mean, cv=point.cv, min_tokens=2, max_tokens=int(6 * mean)).draw(
            random, REQUESTS
        )
        for mean in (point.prompt, point.output)
    )
    return arrival_s, prompt, output


def _ours(point: Point, requests: Columns) -> Seen:
    law = point.law
    spec = EngineSpec(
        iteration_base_s=law.base_ms / 1e3,
        decode_slope_s=law.decode_ms / 1e3,
        prefill_slope_s=law.prefill_ms / 1e3,
        kv_slope_s=law.kv_ms / 1e3,
        max_num_seqs=point.max_num_seqs,
        max_num_batched_tokens=point.max_num_batched_tokens,
        num_gpu_blocks=point.num_gpu_blocks + 1,  # with the block that is never handed out
        block_size=BLOCK_TOKENS,
    )
    outcome = simulate(spec, *requests)
    if not np.all(outcome.status == RequestStatus.FINISHED):
        raise RuntimeError(f"{point.name}: not every request finished")
    ttft, itl = outcome.ttft_s, outcome.itl_s
    return Seen(
        float(ttft.mean()),
        float(np.percentile(ttft, 95)),
        float(itl.mean()),
        float(np.percentile(itl, 95)),
    )


def reports_of(worker: Path, runs: Sequence[object], *, within_s: float) -> list[dict[str, float]]:
    """Return what a worker in the referee's own environment says of runs, in their order."""
    done = subprocess.run(
        [str(FOLDER / "bin" / "python"), str(worker)],
        input=json.dumps(runs),
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the referee failed: {done.stderr[-1000:]}")
    return list(json.loads(done.stdout[done.stdout.index("[{") :]))


def _referee(points: Sequence[Point], requests: Sequence[Columns]) -> list[Seen]:
    content = [
        {
            **asdict(point.law),
            "max_num_seqs": point.max_num_seqs,
            "max_num_batched_tokens": point.max_num_batched_tokens,
            "num_gpu_blocks": point.num_gpu_blocks,
            "requests": [
                [1e3 * float(at), int(prompt), int(output)]
                for at, prompt, output in zip(*columns, strict=True)
            ],
        }
        for point, columns in zip(points, requests, strict=True)
    ]
    reports = reports_of(WORKER, content, within_s=TIMEOUT_S)
    for point, report in zip(points, reports, strict=True):
        if report["completed_requests"] != REQUESTS:
            raise RuntimeError(f"{point.name}: the referee finished {report['completed_requests']}")
    return [
        Seen(
            report["mean_ttft_ms"] / 1e3,
            report["p95_ttft_ms"] / 1e3,
            report["mean_tpot_ms"] / 1e3,
            report["p95_tpot_ms"] / 1e3,
        )
        for report in reports
    ]


if __name__ == "__main__":
    main()
