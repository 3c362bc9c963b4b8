"""`wva check`: read a settings file and say what it declares, or what is wrong with it."""

import argparse
import json

from adapter.catalog import Catalog, build_catalog
from adapter.config import load_settings

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print the settings' variants; a fault raises ConfigError, which exits with 2."""
    catalog = build_catalog(load_settings(options.settings))
    rows = _rows(catalog)
    if options.json:
        print(json.dumps({"settings": str(options.settings), "variants": rows}, indent=2))
        return 0
    print(f"{options.settings}: good, {len(rows)} variant(s)")
    for row in rows:
        assumed = " (assumed)" if row["cost_source"] == "assumed" else ""
        print(
            f"  {row['variant']}: {row['model']} on {row['accelerator']}, "
            f"{row['min_replicas']} to {row['max_replicas']} replicas, "
            f"{row['cost_per_hour']:.2f}/h each{assumed}, {row['slo']}"
        )
    return 0


def _rows(catalog: Catalog) -> list[dict[str, object]]:
    return [
        {
            "variant": name,
            "model": catalog.models[int(catalog.variant_model[i])].model,
            "accelerator": catalog.accelerators[i],
            "min_replicas": int(catalog.min_replicas[i]),
            "max_replicas": int(catalog.max_replicas[i]),
            "cost_per_hour": float(catalog.cost_per_hour[i]),
            "cost_source": catalog.texts["cost_source"][i],
            "slo": _slo(catalog, i),
        }
        for i, name in enumerate(catalog.variant_names)
    ]


def _slo(catalog: Catalog, row: int) -> str:
    percentile = 100 * catalog.slo.percentile_ratio[row]
    targets = [
        f"{name} {1e3 * column[row]:g} ms"
        for name, column in (("TTFT", catalog.slo.ttft_s), ("ITL", catalog.slo.itl_s))
        if column[row] < float("inf")
    ]
    if not targets:
        return "no SLO: sized by saturation headroom alone"
    return f"p{percentile:g} " + ", ".join(targets)
