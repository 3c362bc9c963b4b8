"""Arguments of what runs: the adapter, its loop, the demonstration."""

from pathlib import Path

from .kinds import Commands, add_logging

__all__ = ["add_demo", "add_loop", "add_serve"]


def add_serve(commands: Commands) -> None:
    """Add `wva serve`."""
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
    add_logging(serve)
    serve.set_defaults(module="serve")


def add_loop(commands: Commands) -> None:
    """Add `wva _loop`, which the serving process starts; it is not for people."""
    loop = commands.add_parser("_loop")
    loop.add_argument("--settings", type=Path)
    loop.add_argument("--log-level", default="info")
    loop.add_argument("--log-format", default="json")
    loop.set_defaults(module="loop_process")


def add_demo(commands: Commands) -> None:
    """Add `wva demo`."""
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
