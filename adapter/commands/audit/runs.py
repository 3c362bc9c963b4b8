"""The runs of an audit, each in a process of its own: what was, what is today, and WVA."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from adapter.records import Publication
from optimizer import IntArray
from simulator.closed_loop import PolicyFactory, play
from simulator.scenario import Scenario
from simulator.summary import Summary, summarize

from ..in_processes import completed
from ..replay_settings import replay_settings
from ..replay_wva import wva_policy
from .own_hpa import OwnHpa
from .past import Past
from .policies import own_autoscalers, recorded_counts
from .windows import Windows, run_windows

__all__ = ["OWN", "REPLAYED", "WVA", "AuditJob", "AuditRun", "Runs", "audit_jobs", "run_audit_jobs"]

Runs: TypeAlias = Mapping[str, Sequence["AuditRun"]]

REPLAYED = "recorded counts"
OWN = "your autoscaler"
WVA = "wva"
# HPA looks this often; more decisions than that in days of history change nothing that it does.
LONG_INTERVAL_S = 15.0
LONG_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditJob:
    """One run: the scenario, who scales, and what that needs."""

    policy: str
    scenario: Scenario
    counts: IntArray
    count_s: float  # between two of them
    scrape_s: float
    width_s: float
    hpas: tuple[OwnHpa | None, ...]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditRun:
    """What a run came to; `reasons` are those of WVA's decisions: (when, per variant)."""

    summary: Summary
    windows: Windows
    reasons: tuple[tuple[float, tuple[str, ...]], ...] = ()


def audit_jobs(past: Past, width_s: float, seeds: Sequence[int]) -> list[AuditJob]:
    """Return the runs that an audit needs: what happened once could have gone otherwise."""
    history = past.history
    policies = [REPLAYED, *([OWN] if any(past.hpas) else []), WVA]
    return [
        AuditJob(
            policy=policy,
            scenario=_ready_at_once(past.scenario) if policy == REPLAYED else past.scenario,
            counts=history.counts,
            count_s=history.span.step_s / history.scrapes_per_step,
            scrape_s=history.scrape_s,
            width_s=width_s,
            hpas=past.hpas,
            seed=seed,
        )
        for policy in policies
        for seed in seeds
    ]


def _ready_at_once(scenario: Scenario) -> Scenario:
    """Return the scenario without cold starts: recorded are the replicas that served."""
    variants = [
        variant.model_copy(update={"cold_start": variant.cold_start.model_copy(
            update={"mean_s": 0.0, "cv": 0.0}
        ), "min_replicas": 0})
        for variant in scenario.variants
    ]  # fmt: skip
    return scenario.model_copy(update={"variants": tuple(variants)})


def run_audit_jobs(
    jobs: Sequence[AuditJob], *, workers: int, done: Callable[[], None]
) -> dict[str, tuple[AuditRun, ...]]:
    """Run them and return the runs of each policy, in the order of the jobs."""
    runs: dict[int, AuditRun] = {}
    for at, run in completed(run_audit_job, jobs, workers):
        runs[at] = run
        done()
    found: dict[str, tuple[AuditRun, ...]] = {}
    for at, job in enumerate(jobs):
        found[job.policy] = (*found.get(job.policy, ()), runs[at])
    return found


def run_audit_job(job: AuditJob) -> AuditRun:
    """Do one run."""
    reasons: list[tuple[float, tuple[str, ...]]] = []

    def heard(now_s: float, publication: Publication) -> None:
        told = tuple(publication.binding_names[int(at)] for at in publication.binding)
        if not reasons or reasons[-1][1] != told:
            reasons.append((now_s, told))

    run = play(job.scenario, job.policy, _factory(job, heard), seed=job.seed)
    return AuditRun(
        summary=summarize(run), windows=run_windows(run, job.width_s), reasons=tuple(reasons)
    )


def _factory(job: AuditJob, heard: Callable[[float, Publication], None]) -> PolicyFactory:
    if job.policy == REPLAYED:
        return lambda _: recorded_counts(job.counts, job.count_s)
    if job.policy == OWN:
        return lambda _: own_autoscalers(
            job.hpas, job.counts, step_s=job.count_s, scrape_s=job.scrape_s
        )
    settings = replay_settings(job.scenario)
    if job.scenario.duration_s > LONG_S:
        settings = settings.model_copy(update={"interval_s": LONG_INTERVAL_S})
    return lambda world: wva_policy(world, settings, heard=heard)
