"""Arguments of `wva fit`."""

from pathlib import Path

from .kinds import Commands, at_least_one

__all__ = ["add_fit"]


def add_fit(commands: Commands) -> None:
    """Add `wva fit`."""
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
        "--accelerators-per-replica", type=at_least_one, default=1, metavar="N",
        help="accelerators that served the runs (default 1)",
    )  # fmt: skip
    fit.add_argument(
        "--max-batch-size",
        type=at_least_one,
        metavar="N",
        help="max_num_seqs, to be printed along",
    )
    fit.add_argument("--plot", type=Path, metavar="FILE", help="write fit against data as SVG")
    fit.add_argument("--json", action="store_true", help="print profile and points as JSON")
    fit.set_defaults(module="fit")
