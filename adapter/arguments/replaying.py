"""Arguments of `wva replay`."""

import argparse
from pathlib import Path

from .kinds import Commands

__all__ = ["add_replay"]


def add_replay(commands: Commands) -> None:
    """Add `wva replay`."""
    replay = commands.add_parser(
        "replay",
        help="a workload under one policy or several, in simulated time",
        description="Simulate engines, pods and HPA under a scenario, once per policy and seed: "
        "WVA with its own decision code beside what people use today, on the same requests.",
    )
    _add_runs(replay)
    _add_strain(replay)
    replay.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.html and results.json here"
    )
    replay.add_argument("--json", action="store_true", help="print JSON instead of the table")
    replay.add_argument("--list", action="store_true", help="name scenarios and policies")
    replay.set_defaults(module="replay")


def _add_runs(replay: argparse.ArgumentParser) -> None:
    replay.add_argument("scenario", nargs="?", help="a YAML file, or a shipped one's name")
    replay.add_argument(
        "--policy",
        action="append",
        metavar="NAME",
        help="may be repeated (default: wva, hpa-kv, static); --list names them",
    )
    replay.add_argument(
        "--grid", action="append", metavar="NAME", help="all settings of a baseline's grid, too"
    )
    replay.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="runs of each policy (default 3)"
    )
    replay.add_argument(
        "--first-seed", type=int, default=1, metavar="N", help="seeds from here on (default 1)"
    )
    replay.add_argument(
        "--jobs", type=int, metavar="N", help="runs at once (default: as many as cores)"
    )


def _add_strain(replay: argparse.ArgumentParser) -> None:
    """Let what policies are told be wrong, or come amiss."""
    replay.add_argument(
        "--profile-factor",
        type=float,
        default=1.0,
        metavar="F",
        help="profiles that WVA is given say F times the true times",
    )
    replay.add_argument(
        "--cold-start-factor",
        type=float,
        default=1.0,
        metavar="F",
        help="replicas take F times as long to start as declared",
    )
    replay.add_argument(
        "--scrape-loss",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="this share of all scrapes fails, for every policy",
    )
    replay.add_argument(
        "--metrics-late",
        type=float,
        default=0.0,
        metavar="S",
        help="scrapes show what was S seconds ago, for every policy",
    )
