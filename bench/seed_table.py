"""Fit the table of published profiles to measurements: prints rows of optimizer/published.py.

    python -m bench.seed_table silicon_sample.csv

The file is in the package aiconfigurator-core on the Python index (Apache-2.0), under
aiconfigurator_core/systems: TTFT and time per output token of real engines at fixed
concurrencies, with the date and image of every run. Rows of vLLM on one node, prompts and
decodes together, are taken; a (model, accelerator, format, count) has a row in the table if
its points determine one.

With n requests in flight, I prompt and O output tokens, the mean time per output token is

    base + n (decode O + prefill I) / (O + 1) + n kv (I + O / 2),

fitted by least squares of relative errors over the coefficients that may not be negative.
"""

import argparse
import csv
import itertools
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from optimizer import FloatArray

FEWEST_POINTS = 8
FEWEST_CONCURRENCIES = 3
# Beyond, the engine's own limits and not the law make the times: not a profile.
LARGEST_ERROR = 0.10
NAMES = {
    "h100_sxm": "H100",
    "h200_sxm": "H200",
    "b200_sxm": "B200",
    "b300_sxm": "B300",
    "gb200": "GB200",
}


def main() -> None:
    """Read the file that is named and print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    groups = defaultdict(list)
    with parser.parse_args().file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            ours = row["backend"] == "vllm" and row["mode"] == "agg" and row["system"] in NAMES
            if ours and row["pp_size"] == "1" and row["attention_dp_size"] == "1":
                count = int(row["tp_size"])
                key = (row["model_path"], NAMES[row["system"]], row["precision"], count)
                groups[key].append(row)
    for key, rows in sorted(groups.items()):
        told = _row(key, rows)
        if told:
            print(told)


def _row(key: tuple[str, str, str, int], rows: list[dict[str, str]]) -> str:
    def column(name: str) -> FloatArray:
        return np.array([float(row[name] or "nan") for row in rows])

    prompt, output, times = column("isl"), column("osl"), column("silicon_tpot_ms")
    requests = np.array([_concurrency(row["silicon_data_source"]) for row in rows])
    usable = np.isfinite(times) & (times > 0) & np.isfinite(requests)
    if usable.sum() < FEWEST_POINTS or len(np.unique(requests[usable])) < FEWEST_CONCURRENCIES:
        return ""
    design = np.stack(
        [np.ones_like(times), requests * output / (output + 1), requests * prompt / (output + 1),
         requests * (prompt + output / 2)],
        axis=1,
    )  # fmt: skip
    found, error = _fitted(design[usable], times[usable])
    if error > LARGEST_ERROR or found[0] <= 0:
        return ""
    model, accelerator, precision, count = key
    values = ", ".join(f"{v:.3g}" for v in found)
    return (
        f'    Published("{model.split("/")[-1]}", "{accelerator}", "{precision}", {count}, {values}),'
        f"  # {usable.sum()} points, {error:.1%}"
    )


def _concurrency(source: str) -> float:
    """Return the requests in flight that a row's source tells; NaN: it doesn't."""
    told = re.search(r"silicon_concurrency=(\d+)", source)
    return float(told.group(1)) if told else float("nan")


def _fitted(design: FloatArray, times: FloatArray) -> tuple[FloatArray, float]:
    """Return the coefficients, none negative, with the least relative error, and that error."""
    scaled, best = design / times[:, None], (np.zeros(design.shape[1]), np.inf)
    for size in range(1, design.shape[1] + 1):
        for chosen in itertools.combinations(range(design.shape[1]), size):
            some, *_ = np.linalg.lstsq(scaled[:, chosen], np.ones(len(times)), rcond=None)
            if np.all(some >= 0):
                found = np.zeros(design.shape[1])
                found[list(chosen)] = some
                error = float(np.mean(np.abs(scaled @ found - 1.0)))
                if error < best[1]:
                    best = (found, error)
    return best


if __name__ == "__main__":
    main()
