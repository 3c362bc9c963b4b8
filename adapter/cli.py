"""The command line: which command runs, and its exit code.

Exit codes: 0 success, 1 failure, 2 bad usage or configuration.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence

from . import __version__
from .arguments import asking, auditing, fitting, replaying, running
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
    running.add_serve(commands)
    running.add_demo(commands)
    asking.add_check(commands)
    asking.add_explain(commands)
    asking.add_profiles(commands)
    asking.add_plan(commands)
    asking.add_doctor(commands)
    fitting.add_fit(commands)
    replaying.add_replay(commands)
    auditing.add_audit(commands)
    running.add_loop(commands)
    return parser


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
