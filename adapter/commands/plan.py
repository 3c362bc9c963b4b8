"""`wva plan`: one decision from a file, printed and explained."""

import argparse
import json

from adapter.decide import policy_of
from adapter.errors import ConfigError
from adapter.plan_file import build_request, parse_plan_file
from adapter.plan_report import report, to_table
from optimizer import plan

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print who gets what and why; a fault in the file raises ConfigError."""
    try:
        text = options.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read {options.file}: {exc}") from exc
    catalog, demand = parse_plan_file(
        text,
        origin=str(options.file),
        demand=options.demand,
        capacity=options.capacity,
        slo=options.slo,
    )
    request = build_request(catalog, demand, policy_of(catalog))
    found = report(catalog, request, plan(request))
    print(json.dumps(found, indent=2) if options.json else to_table(found).rstrip())
    return 0
