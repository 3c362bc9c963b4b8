"""The command line: arguments, exit codes, nothing else.

Exit codes: 0 success, 1 failure, 2 bad usage or configuration.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import __version__
from .errors import AdapterError, ConfigError

__all__ = ["build_parser", "main"]

EXAMPLES = """\
examples:
  wva demo                         everything on this machine, no cluster, no GPU
  wva demo --duration 60 --json    the same for a minute, with a summary to script with
  wva serve --settings wva.yaml    the adapter itself
  wva replay public-ramp           the decision beside HPA's, in simulated time
  wva serve                        the same in a cluster, with what its objects declare
  wva check --settings wva.yaml    read the settings and say what is wrong with them
  wva doctor                       look at a cluster, before and after installing
  wva fit results/*.json           a performance profile from benchmark results
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; each command names the module in `commands/` that runs it."""
    parser = argparse.ArgumentParser(
        prog="wva",
        description="Replica counts for LLM serving that hold latency SLOs at the least cost, "
        "as external metrics for stock HPA and KEDA.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"wva {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_demo(commands)
    _add_check(commands)
    _add_explain(commands)
    _add_plan(commands)
    _add_doctor(commands)
    _add_fit(commands)
    _add_replay(commands)
    _add_audit(commands)
    loop = commands.add_parser("_loop")  # the serving process starts it; not for people
    loop.add_argument("--settings", type=Path)
    loop.add_argument("--log-level", default="info")
    loop.add_argument("--log-format", default="json")
    loop.set_defaults(module="loop_process")
    return parser


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser(
        "serve",
        help="run the adapter",
        description="Read engines, decide every few seconds, and serve the decisions as "
        "external metrics (HTTPS), to KEDA (gRPC) and as Prometheus metrics (HTTP).",
    )
    serve.add_argument(
        "--settings",
        type=Path,
        help="YAML file, read again on change (default: none, in a cluster none is needed)",
    )
    _add_logging(serve)
    serve.set_defaults(module="serve")


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = commands.add_parser(
        "demo",
        help="the adapter against emulated engines, with an embedded stand-in for HPA",
        description="Start emulated vLLM engines for two models on two kinds of accelerator, a "
        "load that ramps up, bursts and falls, the adapter itself, and a stand-in for HPA that "
        "scales the engines by what the adapter publishes. Listens on 127.0.0.1 only.",
    )
    demo.add_argument(
        "--duration", type=float, default=300.0, metavar="S", help="seconds to run (default 300)"
    )
    demo.add_argument(
        "--seed", type=int, default=1, help="seed of arrivals and lengths (default 1)"
    )
    demo.add_argument(
        "--json", action="store_true", help="print the summary as JSON, no live table"
    )
    demo.add_argument(
        "--log-file", type=Path, help="where the adapter logs (default: a temporary file)"
    )
    demo.set_defaults(module="demo")


def _add_check(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = commands.add_parser(
        "check",
        help="check a settings file",
        description="Read a settings file, report every fault in it, and list its variants.",
    )
    check.add_argument("--settings", type=Path, required=True)
    check.add_argument("--json", action="store_true", help="print the result as JSON")
    check.set_defaults(module="check")


def _add_plan(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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


def _add_explain(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
    explain.add_argument(
        "--url",
        help="where an adapter serves its API (default: the kubeconfig's cluster, else "
        "https://127.0.0.1:8443)",
    )
    explain.add_argument("--ca-file", type=Path, help="CA certificate of the adapter")
    explain.add_argument("--token-file", type=Path, help="bearer token to authenticate with")
    explain.add_argument("--json", action="store_true", help="print JSON instead of text")
    explain.set_defaults(module="explain")


def _add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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


def _add_fit(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    fit = commands.add_parser(
        "fit",
        help="a performance profile from benchmark results",
        description="Fit a profile to what a load generator measured at several loads: JSON of "
        "`vllm bench serve --save-result`, JSON of GuideLLM, or CSV with a row per run (columns "
        "prompt_tokens, output_tokens, itl_ms, ttft_ms, and concurrency or throughput_rps). "
        "Prints settings to paste; exit code 2 where the runs don't determine a profile.",
    )
    fit.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="results; any mix of formats"
    )
    fit.add_argument("--model", default="my-model", help="name under models: in the settings")
    fit.add_argument("--accelerator", default="H100", help="accelerator type (default H100)")
    fit.add_argument(
        "--accelerators-per-replica", type=_at_least_one, default=1, metavar="N",
        help="accelerators that served the runs (default 1)",
    )  # fmt: skip
    fit.add_argument(
        "--max-batch-size",
        type=_at_least_one,
        metavar="N",
        help="max_num_seqs, to be printed along",
    )
    fit.add_argument("--plot", type=Path, metavar="FILE", help="write fit against data as SVG")
    fit.add_argument("--json", action="store_true", help="print profile and points as JSON")
    fit.set_defaults(module="fit")


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def _add_replay(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    replay = commands.add_parser(
        "replay",
        help="a workload under one policy or several, in simulated time",
        description="Simulate engines, pods and HPA under a scenario, once per policy and seed: "
        "WVA with its own decision code beside what people use today, on the same requests.",
    )
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
    replay.add_argument(
        "--out", type=Path, metavar="DIR", help="write report.html and results.json here"
    )
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
    replay.add_argument("--json", action="store_true", help="print JSON instead of the table")
    replay.add_argument("--list", action="store_true", help="name scenarios and policies")
    replay.set_defaults(module="replay")


def _add_audit(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
    audit.add_argument("--prometheus", required=True, metavar="URL", help="the server's address")
    audit.add_argument(
        "--last", default="7d", metavar="TIME", help="how far back: 90m, 24h, 7d (default 7d)"
    )
    audit.add_argument("--until", metavar="MOMENT", help="the end, ISO 8601 (default: now)")
    audit.add_argument(
        "--hpa", type=Path, metavar="FILE", help="your HPAs or ScaledObjects, as YAML"
    )
    audit.add_argument("--settings", type=Path, metavar="FILE", help="settings of `wva serve`")
    audit.add_argument(
        "--match", action="append", default=[], metavar='LABEL="VALUE"', help="only such series"
    )
    audit.add_argument(
        "--variant-label", metavar="LABEL", help="names the workload (default: from the pod's name)"
    )
    audit.add_argument("--step", metavar="TIME", help="resolution (default: by --last and scrapes)")
    audit.add_argument("--ttft-ms", type=float, metavar="MS", help="promised time to first token")
    audit.add_argument("--itl-ms", type=float, metavar="MS", help="promised inter-token latency")
    audit.add_argument(
        "--percentile", type=float, default=95.0, metavar="P", help="of both (default 95)"
    )
    audit.add_argument("--accelerator", metavar="NAME", help="what the engines run on")
    audit.add_argument(
        "--accelerators-per-replica", type=_at_least_one, default=1, metavar="N", help="default 1"
    )
    audit.add_argument("--cost-per-hour", type=float, metavar="X", help="of one accelerator")
    audit.add_argument(
        "--cold-start", type=float, metavar="S", help="seconds from asked for to ready"
    )
    audit.add_argument("--min-replicas", type=int, default=1, metavar="N", help="default 1")
    audit.add_argument("--max-replicas", type=_at_least_one, metavar="N")
    audit.add_argument("--max-batch-size", type=_at_least_one, metavar="N", help="max_num_seqs")
    audit.add_argument(
        "--routing",
        default="least_loaded",
        choices=("least_loaded", "round_robin", "equal_per_replica", "kv_aware"),
        help="how the gateway routes (default least_loaded)",
    )
    audit.add_argument("--token-file", type=Path, help="bearer token for Prometheus")
    audit.add_argument("--ca-file", type=Path, help="CA certificate of Prometheus")
    audit.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="of one query (default 60)"
    )
    audit.add_argument(
        "--seeds", type=_at_least_one, default=3, metavar="N", help="runs of each (default 3)"
    )
    audit.add_argument("--jobs", type=_at_least_one, metavar="N", help="runs at once (default 2)")
    audit.add_argument(
        "--out", type=Path, metavar="DIR", help="write audit.html and audit.json here"
    )
    audit.add_argument("--json", action="store_true", help="print JSON instead of text")
    audit.set_defaults(module="audit")


def _add_logging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error")
    )
    parser.add_argument("--log-format", default="json", choices=("json", "console"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name and return the exit code."""
    options = build_parser().parse_args(arguments)
    # A command imports what it needs when it runs, so that --help answers at once.
    command = importlib.import_module(f"adapter.commands.{options.module}")
    try:
        return int(command.run(options))
    except AdapterError as exc:
        return _told(exc)
    except ExceptionGroup as group:
        # What runs as several tasks fails as a group, even where one thing is wrong.
        ours, others = group.split(AdapterError)
        if ours is None or others is not None:
            raise
        return _told(*_members(ours))


def _told(*errors: AdapterError) -> int:
    """Print what is wrong, a line each, and return the exit code."""
    for error in errors:
        print(f"wva: {error}", file=sys.stderr)
    return 2 if any(isinstance(error, ConfigError) for error in errors) else 1


def _members(group: ExceptionGroup[AdapterError]) -> Iterator[AdapterError]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _members(error)
        else:
            yield error
