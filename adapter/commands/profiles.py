"""`wva profiles`: the performance profiles that a running adapter decides with."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from .explain import answered
from .explanations import AnswerError, Asked

__all__ = ["run"]

TIMES = ("alpha_ms", "beta_ms", "beta_prefill_ms", "gamma_ms", "ttft_constant_ms")
COUNTS = ("max_batch_size", "max_batched_tokens", "max_queue_size")
HEAD = ("VARIANT", "ACCELERATOR", "SOURCE", "ALPHA MS", "BETA MS", "PREFILL MS", "GAMMA MS",
        "TTFT MS", "FACTOR")  # fmt: skip

Line = Mapping[str, Any]


def run(options: argparse.Namespace) -> int:
    """Print the profiles as a table, as settings, or as JSON."""
    lines = _asked(options)
    if options.json:
        print(json.dumps([_record(line) for line in lines], indent=2))
    else:
        print(_as_settings(lines) if options.settings else _as_table(lines))
    return 0


def _asked(options: argparse.Namespace) -> list[Line]:
    """Return the overview's lines of what is named, each once, in that order."""
    found: dict[tuple[str, str], Line] = {}
    for text in options.variants or [""]:
        asked = Asked.parse(text)
        if asked.variant:  # says which namespace it is in, or that it isn't there
            one = answered(options, asked)
            asked = Asked(one["namespace"], one["variant"])
        lines = answered(options, Asked(asked.namespace, ""))["variants"]
        for line in lines:
            if "profile" not in line:
                raise AnswerError("this adapter tells no profiles: it is older than this command")
            if asked.variant in ("", line["variant"]):
                found[line["namespace"], line["variant"]] = line
    return list(found.values())


def _record(line: Line) -> Mapping[str, Any]:
    names = ("namespace", "variant", "model_name", "accelerator_type", "profile")
    return {name: line[name] for name in names}


def _as_table(lines: Sequence[Line]) -> str:
    rows = [HEAD, *map(_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cells(line: Line) -> tuple[str, ...]:
    profile = line["profile"]
    source = " ".join(filter(None, (profile["source"], profile["basis"])))
    numbers = (profile.get(name) for name in (*TIMES, "factor"))
    return (
        _name(line),
        line["accelerator_type"],
        source or "-",
        *("-" if number is None else f"{number:.4g}" for number in numbers),
    )


def _as_settings(lines: Sequence[Line]) -> str:
    """Return YAML with one profile per model and accelerator; comments say what is left out."""
    models: dict[str, dict[str, Any]] = {}
    comments = []
    for line in lines:
        profile = _declared(line["profile"])
        if profile is None:
            comments.append(f"# {_name(line)} has no profile")
            continue
        of_model = models.setdefault(line["model_name"], {"profiles": {}})["profiles"]
        if of_model.setdefault(line["accelerator_type"], profile) != profile:
            comments.append(f"# {_name(line)} has another profile: name it alone to print that")
    settings = yaml.safe_dump({"models": models}, sort_keys=False).rstrip() if models else ""
    return "\n".join(filter(None, (*comments, settings)))


def _declared(profile: Line) -> dict[str, Any] | None:
    """Return a profile as settings declare it; None where there is none."""
    if profile.get("alpha_ms") is None:
        return None
    known = {name: profile.get(name) for name in (*TIMES, *COUNTS, "kv_capacity_tokens")}
    return {
        **{n: int(v) if n in COUNTS else v for n, v in known.items() if v is not None},
        "fixed": True,
    }


def _name(line: Line) -> str:
    return f"{line['namespace']}/{line['variant']}"
