"""The proof in two minutes: the paper's setting, one seed, three policies."""

import os
from collections.abc import Sequence

from .proof import completed
from .proof_cells import Cell
from .report import Row, run_bench

SCENARIO = "paper-tiers"
POLICIES = ("hpa-kv", "wva-v2", "wva")


def measure() -> Sequence[Row]:
    """Attainment beside HPA on KV cache and queue, on the same requests."""
    cells = [Cell(scenario=SCENARIO, policy=policy, seeds=(1,)) for policy in POLICIES]
    runs = {cell: figures[0] for cell, figures, _ in completed(cells, os.cpu_count() or 1, None)}
    base = runs[cells[0]]
    return [
        Row(
            name=f"{SCENARIO}: attainment of {cell.policy} at a cost of {runs[cell]['cost']:.2f}",
            value=runs[cell]["attainment"],
            unit="ratio",
            baseline=f"{POLICIES[0]} at {base['cost']:.2f}",
            ratio=runs[cell]["attainment"] / base["attainment"],
            command=f"wva replay {SCENARIO} --policy {cell.policy} --seeds 1",
        )
        for cell in cells
    ]


if __name__ == "__main__":
    run_bench(measure)
