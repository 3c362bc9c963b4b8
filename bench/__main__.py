"""Run every bench in a process of its own and write bench/results.json.

Each one prints its table as it goes; BLAS is held to one thread, so that "core-second"
means what it says.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BENCHES = (
    "sizing_speed",
    "decision_speed",
    "solver_quality",
    "parse_speed",
    "exposition_speed",
    "scrape_speed",
    "api_speed",
    "memory",
    "tick_time",
    "accuracy_measured",
    "accuracy_engine",
    "accuracy_tails",
    "forecast_loss",
    "learning",
    "simulator_speed",
    "proof_short",
)
ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
RESULTS = Path(__file__).with_name("results.json")


def main() -> int:
    """Run the chosen benches; return 1 if one of them failed or missed a bound."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="BENCH", help=f"some of: {' '.join(BENCHES)}")
    chosen = parser.parse_args().only or list(BENCHES)
    unknown = [name for name in chosen if name not in BENCHES]
    if unknown:
        parser.error(f"unknown bench {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    rows: list[dict[str, object]] = []
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            target = Path(folder) / f"{name}.json"
            print(f"\n{name}", flush=True)
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", f"bench.{name}", "--json", str(target)],
                env={**os.environ, **ONE_THREAD},
                check=False,
            )
            print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
            if done.returncode != 0 or not target.exists():
                failed.append(name)
                continue
            rows.extend(json.loads(target.read_text()))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"\n{len(rows)} figures in {RESULTS.relative_to(Path.cwd())}")
    missed = [str(row["name"]) for row in rows if row.get("holds") is False]
    if missed:
        print(f"bounds missed: {'; '.join(missed)}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed or missed else 0


if __name__ == "__main__":
    sys.exit(main())
