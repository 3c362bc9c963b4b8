"""Kinds of values that arguments have, and what several commands take alike."""

import argparse
from typing import TypeAlias

__all__ = ["Commands", "add_logging", "at_least_one"]

# argparse has no public name for it.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def at_least_one(text: str) -> int:
    """Return a whole number, 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def add_logging(parser: argparse.ArgumentParser) -> None:
    """Let the command be told what to log, and how."""
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error")
    )
    parser.add_argument("--log-format", default="json", choices=("json", "console"))
