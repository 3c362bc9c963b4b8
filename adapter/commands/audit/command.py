"""`wva audit` from its flags to its answer."""

import argparse
import asyncio
import json
import re
import time
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from adapter.collect.dialects import load_dialects
from adapter.collect.prometheus_api import PrometheusClient
from adapter.collect.selectors import Matcher, parse_selector
from adapter.config import PrometheusSource, Settings, load_settings
from adapter.errors import ConfigError
from simulator.compiled import has_numba

from ..replay import settings_sha256
from .declared import Declared
from .fitting import fit_variant
from .history import History
from .moments import worst_moments
from .outcome import Audit, as_document
from .own_hpa import OwnHpa, read_own_hpas
from .past import Past, build_past, hpa_of
from .reading import HistoryError, Question, read_history
from .report import print_audit, render_audit
from .runs import WVA, audit_jobs, run_audit_jobs
from .verdict import judge
from .windows import recorded_windows

__all__ = ["parse_duration_s", "run"]

REPORT = "audit.html"
DOCUMENT = "audit.json"
PLAIN_WIDTH = 140
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def run(options: argparse.Namespace) -> int:
    """Read, reproduce, compare, print; 0 also where the verdict is withheld: that is an answer."""
    console = Console(stderr=options.json)
    if not console.is_terminal:
        console = Console(stderr=options.json, width=PLAIN_WIDTH)
    if not has_numba():
        console.print("numba isn't installed: this will be slow; pip install 'wva-adapter[sim]'")
    settings = None if options.settings is None else load_settings(options.settings)
    hpas = () if options.hpa is None else read_own_hpas(options.hpa)
    declared = Declared(options=options, settings=settings)
    with _progress(console) as progress:
        history = _history(options, settings, progress)
        past = _past(history, declared, hpas, options)
        audit = _audit(past, declared, options, progress)
    document = as_document(audit)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        print_audit(audit, console)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document, indent=2) + "\n"
        (options.out / DOCUMENT).write_text(text, encoding="utf-8")
        page = render_audit(audit, settings_sha256=settings_sha256(past.scenario))
        (options.out / REPORT).write_text(page, encoding="utf-8")
        console.print(f"report: {options.out / REPORT}", soft_wrap=True, highlight=False)
    return 0


def parse_duration_s(text: str) -> float:
    """Return what `7d` or `90m` says in seconds.

    >>> parse_duration_s("90m")
    5400.0
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0.0:
        raise ConfigError(f"{text!r} is no duration: write 90m, 24h or 7d")
    return float(found[1]) * _UNITS[found[2]]


def _until_unix_s(text: str | None) -> float:
    if text is None:
        return time.time()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ConfigError(f"--until {text}: write 2026-11-28T08:00:00Z ({exc})") from exc
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _question(options: argparse.Namespace) -> Question:
    return Question(
        until_unix_s=_until_unix_s(options.until),
        last_s=parse_duration_s(options.last),
        step_s=None if options.step is None else parse_duration_s(options.step),
        variant_label=options.variant_label,
        matchers=_matchers(options.match),
    )


def _matchers(texts: list[str]) -> tuple[Matcher, ...]:
    try:
        selectors = [parse_selector(f"x{{{text}}}") for text in texts]
    except ValueError as exc:
        raise ConfigError(f"--match: {exc}") from exc
    return tuple(matcher for selector in selectors for matcher in selector.matchers)


def _history(options: argparse.Namespace, settings: Settings | None, progress: Progress) -> History:
    source = PrometheusSource(
        url=options.prometheus,
        timeout_s=options.timeout,
        bearer_token_file=options.token_file,
        ca_file=options.ca_file,
    )
    dialects = load_dialects(settings.dialects if settings is not None else None)
    task = progress.add_task("reading", total=None)

    def asked(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total)

    async def read() -> History:
        client = PrometheusClient(source)
        await client.open()
        try:
            return await read_history(client, _question(options), dialects, asked=asked)
        finally:
            await client.close()

    return asyncio.run(read())


def _past(
    history: History, declared: Declared, hpas: tuple[OwnHpa, ...], options: argparse.Namespace
) -> Past:
    supplies = [declared.supply(variant) for variant in history.variants]
    fits = [fit_variant(history, row, supply) for row, supply in enumerate(supplies)]
    for variant, fit in zip(history.variants, fits, strict=True):
        if fit.profile is None:
            raise HistoryError(
                f"{variant.namespace}/{variant.name}: no profile can be fitted to this history "
                f"({fit.rests_on}). Take a longer --last, or give one by --settings "
                "(`wva fit` makes one from a benchmark)"
            )
    own = hpa_of(history, hpas)
    unknown = {hpa.target for hpa in hpas} - {hpa.target for hpa in own if hpa is not None}
    if unknown:
        there = ", ".join(sorted({v.name for v in history.variants}))
        raise ConfigError(
            f"{options.hpa}: no engine was recorded for {', '.join(sorted(unknown))}; there are "
            f"{there} (--variant-label names the label that says it)"
        )
    return build_past(history, fits, supplies, declared, own)


def _audit(
    past: Past, declared: Declared, options: argparse.Namespace, progress: Progress
) -> Audit:
    recorded = recorded_windows(past.history, past.promises)
    jobs = audit_jobs(past, recorded.width_s, range(1, options.seeds + 1))
    task = progress.add_task("simulating", total=len(jobs))
    runs = run_audit_jobs(jobs, workers=options.jobs or 2, done=lambda: progress.advance(task))
    if not recorded.came.any():
        raise HistoryError("no request was recorded in this time: nothing to audit")
    return Audit(
        past=past,
        recorded=recorded,
        runs=runs,
        verdict=judge(past, recorded, runs),
        moments=worst_moments(past, recorded, runs[WVA][0]),
        assumptions=tuple(declared.assumptions),
    )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
