"""Results of load generators as measured points: vLLM bench, GuideLLM, CSV. Pure.

Whatever a file calls it, a point is a mean over one run at one load: lengths, requests in
flight, time to first token and mean gap between tokens. Numbers that a run doesn't tell
are NaN; a file in no known format is refused with what was expected.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError

__all__ = ["CSV_COLUMNS", "MeasuredPoint", "parse_points"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPoint:
    """Means of one run; standard deviations of lengths are over requests. Base units."""

    name: str
    throughput_rps: float
    requests: float  # in flight, on average
    prompt_tokens: float
    prompt_tokens_std: float
    output_tokens: float
    output_tokens_std: float
    ttft_s: float
    itl_s: float
    evenly_spaced: bool = False


# What a column of a CSV may be called; a name in `_ms` is in milliseconds.
CSV_COLUMNS: Mapping[str, Sequence[str]] = {
    "throughput_rps": ("completed_rps", "throughput_rps", "offered_rate_rps", "rate_rps", "rps"),
    "requests": ("mean_concurrency", "concurrency", "requests_in_flight"),
    "prompt_tokens": ("prompt_tokens_mean", "prompt_tokens", "input_tokens", "isl"),
    "prompt_tokens_std": ("prompt_tokens_std", "input_tokens_std"),
    "output_tokens": ("output_tokens_mean", "output_tokens", "osl"),
    "output_tokens_std": ("output_tokens_std",),
    "ttft_ms": ("ttft_mean_ms", "ttft_ms"),
    "itl_ms": ("itl_mean_ms", "itl_ms", "tpot_mean_ms", "tpot_ms"),
}
_NEEDED = ("prompt_tokens", "output_tokens", "itl_ms")


def parse_points(text: str, *, origin: str) -> list[MeasuredPoint]:
    """Return the points of one file; its content says what format it has.

    Raises
    ------
    ConfigError
        If the file is in no known format or has no usable point; the message says why.
    """
    start = text.lstrip()[:1]
    points = list(_from_json(text, origin) if start in {"{", "["} else _from_csv(text, origin))
    usable = [p for p in points if p.itl_s > 0 and p.output_tokens > 1 and p.requests > 0]
    if not usable:
        raise ConfigError(
            f"{origin}: {len(points)} run(s), none with a gap between tokens, output of more than "
            "one token, and a throughput or concurrency: a profile can't be fitted to them"
        )
    return usable


def _from_json(text: str, origin: str) -> Iterator[MeasuredPoint]:
    for number, document in enumerate(_documents(text, origin)):
        name = f"{origin}#{number + 1}"
        if "benchmarks" in document:
            for place, run in enumerate(document["benchmarks"]):
                yield _of_guidellm(run, f"{origin}#{place + 1}")
        elif "mean_ttft_ms" in document:
            yield _of_vllm(document, name)
        else:
            known = ", ".join(sorted(document)[:8]) or "nothing"
            raise ConfigError(
                f"{name}: neither a result of `vllm bench serve --save-result` (mean_ttft_ms) nor "
                f"of GuideLLM (benchmarks); it has {known}"
            )


def _documents(text: str, origin: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file that holds one, a list of them, or one per line."""
    decoder, place = json.JSONDecoder(), 0
    while text[place:].strip():
        place += len(text[place:]) - len(text[place:].lstrip())
        try:
            found, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as exc:
            raise ConfigError(f"{origin} is not JSON: {exc}") from exc
        for document in found if isinstance(found, list) else [found]:
            if not isinstance(document, dict):
                kind = type(document).__name__
                raise ConfigError(f"{origin}: expected an object per run, got {kind}")
            yield document


def _of_vllm(run: Mapping[str, Any], name: str) -> MeasuredPoint:
    done = _number(run.get("completed"))
    prompt = _number(run.get("total_input_tokens")) / done if done else math.nan
    output = _number(run.get("total_output_tokens")) / done if done else math.nan
    return _with_requests(
        name=name,
        throughput_rps=_number(run.get("request_throughput")),
        requests=math.nan,
        prompt_tokens=prompt,
        prompt_tokens_std=_spread(run.get("input_lens")),
        output_tokens=output,
        output_tokens_std=_spread(run.get("output_lens")),
        ttft_s=_number(run.get("mean_ttft_ms")) / 1e3,
        # Its ITL is over all gaps, which long outputs have more of; TPOT is over requests.
        itl_s=_number(run.get("mean_tpot_ms", run.get("mean_itl_ms"))) / 1e3,
    )


def _of_guidellm(run: Mapping[str, Any], name: str) -> MeasuredPoint:
    metrics = run.get("metrics", {})

    def of(metric: str, what: str = "mean") -> float:
        found = metrics.get(metric, {})
        return _number(found.get("successful", found).get(what))

    strategy = json.dumps(run.get("config", run.get("args", {})))
    return _with_requests(
        name=name,
        throughput_rps=of("requests_per_second"),
        requests=of("request_concurrency"),
        prompt_tokens=of("prompt_token_count"),
        prompt_tokens_std=of("prompt_token_count", "std_dev"),
        output_tokens=of("output_token_count"),
        output_tokens_std=of("output_token_count", "std_dev"),
        ttft_s=of("time_to_first_token_ms") / 1e3,
        itl_s=of("inter_token_latency_ms") / 1e3,
        evenly_spaced='"constant"' in strategy or '"synchronous"' in strategy,
    )


def _from_csv(text: str, origin: str) -> Iterator[MeasuredPoint]:
    table = csv.DictReader(io.StringIO(text))
    header = [name.strip() for name in table.fieldnames or []]
    place = {
        column: next((n for n in names if n in header), "") for column, names in CSV_COLUMNS.items()
    }
    missing = [f"{c} (or {', '.join(CSV_COLUMNS[c])})" for c in _NEEDED if not place[c]]
    if missing:
        raise ConfigError(f"{origin}: no column {'; '.join(missing)}; it has {', '.join(header)}")
    for line, row in enumerate(table, start=2):
        values = {
            column: _cell(row.get(name) or "", f"{origin}:{line}: {name}") if name else math.nan
            for column, name in place.items()
        }
        ttft_s, itl_s = values.pop("ttft_ms") / 1e3, values.pop("itl_ms") / 1e3
        even = (row.get("arrivals") or "") in {"constant", "synchronous"}
        yield _with_requests(
            name=f"{origin}:{line}", ttft_s=ttft_s, itl_s=itl_s, evenly_spaced=even, **values
        )


def _with_requests(
    *, requests: float, throughput_rps: float, evenly_spaced: bool = False, **columns: Any
) -> MeasuredPoint:
    """Fill in requests in flight from the throughput or the other way, by Little's law."""
    ttft_s, gaps = columns["ttft_s"], columns["output_tokens"] - 1.0
    stay_s = (0.0 if math.isnan(ttft_s) else ttft_s) + gaps * columns["itl_s"]
    if math.isnan(requests):
        requests = throughput_rps * stay_s
    elif math.isnan(throughput_rps) and stay_s > 0:
        throughput_rps = requests / stay_s
    return MeasuredPoint(
        requests=requests, throughput_rps=throughput_rps, evenly_spaced=evenly_spaced, **columns
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _cell(text: str, where: str) -> float:
    if not text.strip():
        return math.nan
    try:
        return float(text)
    except ValueError as exc:
        raise ConfigError(f"{where}: {text!r} is not a number") from exc


def _spread(lengths: object) -> float:
    """Return the standard deviation of a list of lengths; NaN: there is none."""
    if not isinstance(lengths, list) or len(lengths) < 2:
        return math.nan
    mean = sum(lengths) / len(lengths)
    return math.sqrt(sum((x - mean) ** 2 for x in lengths) / len(lengths))
