"""Arguments of `wva audit`."""

import argparse
from pathlib import Path

from .kinds import Commands, at_least_one

__all__ = ["add_audit"]


def add_audit(commands: Commands) -> None:
    """Add `wva audit`."""
    audit = commands.add_parser(
        "audit",
        help="from Prometheus history: what WVA would have done",
        description="Read arrivals, lengths, latencies and replicas of the past from a Prometheus "
        "server (nothing is written, nothing installed), fit profiles to them, reproduce what "
        "happened, and then say what WVA would have done with the same requests: GPU hours, "
        "money, minutes of broken promises, and the worst moments with their reasons. Where the "
        "past can't be reproduced, the verdict is withheld. Settings, where given, say promises, "
        "prices, bounds and profiles; flags stand for what they don't.",
    )
    _add_history(audit)
    _add_declared(audit)
    _add_promises(audit)
    _add_engines(audit)
    audit.add_argument(
        "--seeds", type=at_least_one, default=3, metavar="N", help="runs of each (default 3)"
    )
    audit.add_argument("--jobs", type=at_least_one, metavar="N", help="runs at once (default 2)")
    audit.add_argument(
        "--out", type=Path, metavar="DIR", help="write audit.html and audit.json here"
    )
    audit.add_argument("--json", action="store_true", help="print JSON instead of text")
    audit.set_defaults(module="audit")


def _add_history(audit: argparse.ArgumentParser) -> None:
    """Where the past is, and which part of it."""
    audit.add_argument("--prometheus", required=True, metavar="URL", help="the server's address")
    audit.add_argument("--token-file", type=Path, help="bearer token for Prometheus")
    audit.add_argument("--ca-file", type=Path, help="CA certificate of Prometheus")
    audit.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="of one query (default 60)"
    )
    audit.add_argument(
        "--last", default="7d", metavar="TIME", help="how far back: 90m, 24h, 7d (default 7d)"
    )
    audit.add_argument("--until", metavar="MOMENT", help="the end, ISO 8601 (default: now)")
    audit.add_argument("--step", metavar="TIME", help="resolution (default: by --last and scrapes)")
    audit.add_argument(
        "--match", action="append", default=[], metavar='LABEL="VALUE"', help="only such series"
    )
    audit.add_argument(
        "--variant-label", metavar="LABEL", help="names the workload (default: from the pod's name)"
    )


def _add_declared(audit: argparse.ArgumentParser) -> None:
    """Files that say what no metric tells."""
    audit.add_argument(
        "--hpa", type=Path, metavar="FILE", help="your HPAs or ScaledObjects, as YAML"
    )
    audit.add_argument("--settings", type=Path, metavar="FILE", help="settings of `wva serve`")


def _add_promises(audit: argparse.ArgumentParser) -> None:
    audit.add_argument("--ttft-ms", type=float, metavar="MS", help="promised time to first token")
    audit.add_argument("--itl-ms", type=float, metavar="MS", help="promised inter-token latency")
    audit.add_argument(
        "--percentile", type=float, default=95.0, metavar="P", help="of both (default 95)"
    )


def _add_engines(audit: argparse.ArgumentParser) -> None:
    """What a replica is, costs and takes to start, and how many there may be."""
    audit.add_argument("--accelerator", metavar="NAME", help="what the engines run on")
    audit.add_argument(
        "--accelerators-per-replica", type=at_least_one, default=1, metavar="N", help="default 1"
    )
    audit.add_argument("--cost-per-hour", type=float, metavar="X", help="of one accelerator")
    audit.add_argument(
        "--cold-start", type=float, metavar="S", help="seconds from asked for to ready"
    )
    audit.add_argument("--min-replicas", type=int, default=1, metavar="N", help="default 1")
    audit.add_argument("--max-replicas", type=at_least_one, metavar="N")
    audit.add_argument("--max-batch-size", type=at_least_one, metavar="N", help="max_num_seqs")
    audit.add_argument(
        "--routing",
        choices=("round_robin", "equal_per_replica", "least_loaded", "weighted", "kv_aware"),
        help="how the gateway routes (default: as the settings say, else least_loaded)",
    )
