"""Time of one tick: Snapshot to encoded publication, for 100, 1,000 and 10,000 variants.

Scraping and parsing are measured apart (scrape_speed, parse_speed). The baseline of each
size is the size before it: 10 means linear growth.
"""

import time

from adapter.decide import DecisionMemory, decide
from adapter.frames import encode_frame
from adapter.records import TickReport
from bench.report import Row, run_bench
from bench.synthetic import fleet_catalog, fleet_snapshot

SIZES = (100, 1_000, 10_000)
REPLICAS_EACH = 5
REPEATS = 3


def tick_seconds(variants: int) -> tuple[float, float]:
    """Return the seconds of a cold and of a warm tick, the least of a few."""
    catalog = fleet_catalog(variants)
    report = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)
    cold, warm = [], []
    for repeat in range(REPEATS):
        memory = DecisionMemory.empty()
        for tick, spent in enumerate((cold, warm)):
            snapshot = fleet_snapshot(
                catalog, replicas_each=REPLICAS_EACH, taken_s=1000.0 + 5.0 * tick, seed=repeat
            )
            began = time.process_time()
            publication, memory = decide(snapshot, catalog, memory, report=report)
            encode_frame(publication)
            spent.append(time.process_time() - began)
    return min(cold), min(warm)


def measure() -> list[Row]:
    """Measure ticks at each size."""
    rows = []
    before = None
    for variants in SIZES:
        cold, warm = tick_seconds(variants)
        rows.append(
            Row(
                name=f"tick of {variants} variants x {REPLICAS_EACH} replicas",
                value=warm,
                unit="s",
                baseline="the tenth of its size" if before else "-",
                ratio=warm / before if before else None,
                command="python -m bench tick_time",
            )
        )
        rows.append(
            Row(
                name=f"first tick of {variants} variants",
                value=cold,
                unit="s",
                baseline="a later tick",
                ratio=cold / warm,
                command="python -m bench tick_time",
            )
        )
        before = warm
    return rows


if __name__ == "__main__":
    run_bench(measure)
