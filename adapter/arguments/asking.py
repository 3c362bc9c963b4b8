"""Arguments of what answers a question and ends: check, plan, explain, doctor."""

import argparse
from pathlib import Path

from .kinds import Commands

__all__ = ["add_check", "add_doctor", "add_explain", "add_plan", "add_profiles"]


def add_check(commands: Commands) -> None:
    """Add `wva check`."""
    check = commands.add_parser(
        "check",
        help="check a settings file",
        description="Read a settings file, report every fault in it, and list its variants.",
    )
    check.add_argument("--settings", type=Path, required=True)
    check.add_argument("--json", action="store_true", help="print the result as JSON")
    check.set_defaults(module="check")


def add_plan(commands: Commands) -> None:
    """Add `wva plan`."""
    plan = commands.add_parser(
        "plan",
        help="one decision from a file: who gets what, and why",
        description="Read settings and a demand from FILE, decide once, and print each variant's "
        "replicas with what bound them, cost, power and predicted latencies. No engine is asked.",
        epilog="examples:\n"
        "  wva plan examples/heterogeneous.yaml --demand llama-3.1-8b=+50%%\n"
        "  wva plan examples/scarcity.yaml --capacity H100=8 --slo premium.ttft_ms=300\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan.add_argument("file", type=Path, metavar="FILE", help="settings with a `demand` section")
    plan.add_argument(
        "--demand",
        action="append",
        default=[],
        metavar="MODEL=CHANGE",
        help="what if it were +50%%, -20%%, or so many requests/s; may be repeated",
    )
    plan.add_argument(
        "--capacity",
        action="append",
        default=[],
        metavar="ACCELERATOR=COUNT",
        help="what if there were so many (-1: unlimited)",
    )
    plan.add_argument(
        "--slo",
        action="append",
        default=[],
        metavar="CLASS.TARGET=VALUE",
        help="what if a target were another, such as premium.ttft_ms=300",
    )
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    plan.set_defaults(module="plan")


def add_explain(commands: Commands) -> None:
    """Add `wva explain`."""
    explain = commands.add_parser(
        "explain",
        help="why a variant has the number it has",
        description="Ask a running adapter for the inputs, bounds and reasons of a decision: the "
        "one of the kubeconfig's cluster, through the API server, or one at --url. Without a "
        "variant, list those that you may see.",
        epilog="examples:\n"
        "  wva explain team-a/llama-8b-h100\n"
        "  wva explain team-a/            all of a namespace\n"
        "  wva explain llama --url https://127.0.0.1:8443 --ca-file state/ca.crt\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    explain.add_argument("variant", metavar="[NAMESPACE/]VARIANT", nargs="?")
    _add_address(explain)
    explain.add_argument("--json", action="store_true", help="print JSON instead of text")
    explain.set_defaults(module="explain")


def _add_address(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--url",
        help="where an adapter serves its API (default: the kubeconfig's cluster, else "
        "https://127.0.0.1:8443)",
    )
    command.add_argument("--ca-file", type=Path, help="CA certificate of the adapter")
    command.add_argument("--token-file", type=Path, help="bearer token to authenticate with")


def add_profiles(commands: Commands) -> None:
    """Add `wva profiles`."""
    profiles = commands.add_parser(
        "profiles",
        help="the performance profiles that decisions are made with",
        description="Ask a running adapter, as `wva explain` does, how fast it takes a replica of "
        "each variant to be, and where it has that from. --settings prints them as settings, to "
        "edit and keep.",
        epilog="examples:\n"
        "  wva profiles\n"
        "  wva profiles team-a/ team-b/llama\n"
        "  wva profiles team-a/llama-8b-h100 --settings >> wva.yaml\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    profiles.add_argument("variants", metavar="[NAMESPACE/]VARIANT", nargs="*")
    _add_address(profiles)
    form = profiles.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--settings", action="store_true", help="print YAML for the settings")
    profiles.set_defaults(module="profiles")


def add_doctor(commands: Commands) -> None:
    """Add `wva doctor`."""
    doctor = commands.add_parser(
        "doctor",
        help="check an installation and its variants, before and after",
        description="Look at the cluster of the kubeconfig, changing nothing: who has the "
        "APIService, the adapter's rights, pods, leader and clocks, and for each HPA and "
        "ScaledObject that follows it the metric, selector, bounds, tolerance, fallback, target, "
        "grace period and signals. Each line is OK, WARN, FAIL or SKIP, with the command that "
        "mends it. Exits with 1 if something doesn't work.",
    )
    doctor.add_argument(
        "--namespace", "-n", default="wva-system", help="where the adapter is (default wva-system)"
    )
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(module="doctor")
