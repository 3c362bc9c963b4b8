"""Reading pages of metrics: against prometheus_client's parser, on recordings of a real vLLM.

Cold: a page laid out as none before. Warm: the last page of the same engine is remembered. Both read
the series that a decision needs; the baseline reads all of them, since it can't do otherwise.
"""

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from adapter.collect.dialects import load_dialects, wanted_names
from adapter.collect.exposition import ExpositionReader

from .report import Row, run_bench

CAPTURES = Path(__file__).resolve().parents[2] / "shared" / "captures"
COMMAND = "python -m bench parse_speed"
BASELINE = "prometheus_client {:.2f} ms per page"
ROUNDS = 15


def measure() -> list[Row]:
    """Measure cold and warm readings of the recorded pages."""
    if not CAPTURES.exists():
        print("  the recordings (../shared/captures) are not here: nothing to measure")
        return []
    pages = [path.read_bytes() for path in sorted(CAPTURES.glob("*.prom"))]
    texts = [page.decode() for page in pages]
    names, facts = wanted_names(load_dialects())

    def oracle() -> None:
        for text in texts:
            for _ in text_string_to_metric_families(text):
                pass

    def first_of_a_process() -> None:
        for page in pages:
            reader = ExpositionReader(names, facts=facts)
            began = time.process_time()
            reader.read(page)
            spent.append(time.process_time() - began)

    baseline_s = _least_s(oracle) / len(pages)
    spent: list[float] = []
    for _ in range(4 * ROUNDS):
        first_of_a_process()
    first_s = min(spent)
    reader = ExpositionReader(names, facts=facts)
    cold_s = _least_s(lambda: [reader.read(page) for page in pages], times=10) / len(pages)
    kept = [(page, reader.read(page).layout) for page in pages]
    warm_s = _least_s(
        lambda: [reader.read(page, layout=layout) for page, layout in kept], times=50
    ) / len(pages)
    ramp = _ramp()
    ramp_s = _least_s(lambda: _read_in_turn(reader, ramp)) / len(ramp)
    named = (
        ("cold page, first of the process", first_s),
        ("cold page", cold_s),
        ("warm page", warm_s),
        ("warm page, a ramp of 174 scrapes", ramp_s),
    )
    return [
        Row(
            name=name,
            value=seconds * 1e6,
            unit="us",
            baseline=BASELINE.format(baseline_s * 1e3),
            ratio=baseline_s / seconds,
            command=COMMAND,
        )
        for name, seconds in named
    ]


def _ramp() -> list[bytes]:
    with gzip.open(CAPTURES / "vllm-ramp" / "scrapes.jsonl.gz", "rt") as lines:
        return [json.loads(line)["body"].encode() for line in lines]


def _read_in_turn(reader: ExpositionReader, pages: list[bytes]) -> None:
    layout = None
    for page in pages:
        layout = reader.read(page, layout=layout).layout


def _least_s(work: Callable[[], object], *, times: int = 1) -> float:
    """Return the least processor time of one call, over several rounds."""
    least = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(times):
            work()
        least = min(least, (time.process_time() - began) / times)
    return least


if __name__ == "__main__":
    run_bench(measure)
