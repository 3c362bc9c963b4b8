"""`wva fit`: a performance profile from what a load generator measured."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from adapter.benchmark_files import MeasuredPoint, parse_points
from adapter.errors import ConfigError
from adapter.fit_plot import draw_fit
from adapter.profile_of_points import FittedToPoints, fit_points
from optimizer.profile_fit import FitStatus

__all__ = ["run"]

SETTINGS = ("alpha_ms", "beta_ms", "beta_prefill_ms", "gamma_ms", "ttft_constant_ms")
RESTS_ON = {
    FitStatus.FULL: "all five parameters are determined by the data",
    FitStatus.ANCHORED: "the data determine base and load; how the load splits into decode, "
    "prefill and KV rests on the seed: add runs with other lengths to tell them apart",
}


def run(options: argparse.Namespace) -> int:
    """Fit the files' points and print the profile as settings, or as JSON."""
    points = [point for path in options.files for point in _read(path)]
    found = fit_points(
        points,
        model=options.model,
        accelerator=options.accelerator,
        accelerators=options.accelerators_per_replica,
    )
    if options.plot is not None:
        title = f"{options.model} on {options.accelerators_per_replica}x {options.accelerator}"
        _write(options.plot, draw_fit(found, title=title))
    profile = _profile(found, options)
    print(_as_json(found, points, profile) if options.json else _as_yaml(found, profile, options))
    return 0


def _read(path: Path) -> list[MeasuredPoint]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read {path}: {exc}") from exc
    return parse_points(text, origin=str(path))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"cannot write the plot to {path}: {exc}") from exc


def _profile(found: FittedToPoints, options: argparse.Namespace) -> dict[str, float | int]:
    values = (float(f"{value * 1e3:.4g}") for value in found.parameters)
    profile: dict[str, float | int] = dict(zip(SETTINGS, values, strict=True))
    if options.max_batch_size is not None:
        profile["max_batch_size"] = options.max_batch_size
    return profile


def _as_yaml(
    found: FittedToPoints, profile: dict[str, float | int], options: argparse.Namespace
) -> str:
    settings = {"models": {options.model: {"profiles": {options.accelerator: profile}}}}
    low, high = found.requests.min(), found.requests.max()
    return "\n".join(
        [
            f"# {len(found.requests)} points, {low:.3g} to {high:.3g} requests in flight; mean",
            f"# error {found.itl_error:.1%} in ITL, {found.ttft_error:.1%} in TTFT",
            f"# condition number {found.condition:.3g}",
            *(f"# {line}" for line in _wrapped(RESTS_ON[found.status])),
            yaml.safe_dump(settings, sort_keys=False).rstrip(),
        ]
    )


def _as_json(
    found: FittedToPoints, points: Sequence[MeasuredPoint], profile: dict[str, float | int]
) -> str:
    rows = zip(points, found.fitted_itl_s, found.fitted_ttft_s, strict=True)
    document: dict[str, Any] = {
        "profile": profile,
        "rests_on": found.status.name.lower(),
        "condition": found.condition,
        "itl_error_ratio": found.itl_error,
        "ttft_error_ratio": _or_none(found.ttft_error),
        "points": [
            {
                "name": point.name,
                "requests": point.requests,
                "itl_s": point.itl_s,
                "fitted_itl_s": float(itl_s),
                "ttft_s": _or_none(point.ttft_s),
                "fitted_ttft_s": float(ttft_s),
            }
            for point, itl_s, ttft_s in rows
        ],
    }
    return json.dumps(document, indent=2)


def _or_none(value: float) -> float | None:
    return value if value == value else None  # noqa: PLR0124 - NaN is not itself


def _wrapped(text: str, width: int = 86) -> list[str]:
    lines: list[str] = []
    line = ""
    for word in text.split():
        if len(line) + len(word) + 1 > width:
            lines, line = [*lines, line], ""
        line = f"{line} {word}".strip()
    return [*lines, line]
