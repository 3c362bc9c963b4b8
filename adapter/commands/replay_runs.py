"""The runs of a replay: scenario, policy and seed in, a summary out; several at once.

Workers get names and make the rest themselves: policies aren't data.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from adapter.errors import ConfigError
from simulator.closed_loop import Policy, PolicyFactory, play
from simulator.policies.table import BASELINES, BOUNDS, baseline
from simulator.scenario import Scenario
from simulator.summary import Summary, summarize
from simulator.world import World

from .in_processes import completed
from .replay_settings import replay_settings
from .replay_wva import wva_policy

__all__ = [
    "CLAIRVOYANT",
    "OURS",
    "Headroom",
    "Job",
    "Strain",
    "best_of",
    "known_policies",
    "raise_headroom",
    "run_job",
    "run_jobs",
]

OURS = {
    "wva": "WVA behind stock HPA",
    "wva-keda": "WVA behind KEDA, pushed",
}
CLAIRVOYANT = "clairvoyant"

HEADROOM_STEP = 0.05
LARGEST_HEADROOM = 1.0
GOOD_ATTAINMENT = 0.99
LEAST_GAIN = 1e-4
# Steps without any gain after which more headroom is given up.
PATIENCE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Strain:
    """What goes worse than the policies were told: the world's doing, the same for all."""

    profile_factor: float = 1.0  # profiles that WVA is given say so many times the true times
    cold_start_factor: float = 1.0  # starts take so many times as long as declared
    scrape_loss_ratio: float = 0.0  # share of scrapes that fail
    metrics_late_s: float = 0.0  # scrapes show what was so long ago

    def world_of(self, scenario: Scenario) -> Scenario:
        """Return the scenario as it really is."""
        variants = tuple(
            variant.model_copy(
                update={
                    "cold_start": variant.cold_start.model_copy(
                        update={"mean_s": self.cold_start_factor * variant.cold_start.mean_s}
                    )
                }
            )
            for variant in scenario.variants
        )
        return scenario.model_copy(update={"variants": variants})

    def put_on(self, factory: PolicyFactory) -> PolicyFactory:
        """Return a factory whose policies read a world that scrapes badly."""

        def strained(world: World) -> Policy:
            world.lose_scrapes(self.scrape_loss_ratio)
            world.delay_metrics(self.metrics_late_s)
            return factory(world)

        return strained


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run. `setting` names a row of the policy's grid, or a bound's headroom."""

    scenario: Scenario
    policy: str
    seed: int
    setting: str = ""
    strain: Strain = field(default_factory=Strain)

    @property
    def label(self) -> str:
        """What the run is called."""
        return f"{self.policy} [{self.setting}]" if self.setting else self.policy


def known_policies() -> dict[str, str]:
    """Return every policy's name and what it is."""
    return {
        **OURS,
        **{name: each.about for name, each in BASELINES.items()},
        **{name: about for name, (about, _) in BOUNDS.items()},
    }


def run_jobs(
    jobs: Sequence[Job], *, workers: int, done: Callable[[Summary], None]
) -> list[Summary]:
    """Run all jobs and return their summaries in the order of the jobs."""
    summaries: dict[int, Summary] = {}
    for at, summary in completed(run_job, jobs, workers):
        summaries[at] = summary
        done(summary)
    return [summaries[at] for at in range(len(jobs))]


def run_job(job: Job) -> Summary:
    """Do one run."""
    strain = job.strain
    world = strain.world_of(job.scenario)
    return summarize(play(world, job.label, strain.put_on(_factory(job)), seed=job.seed))


def _factory(job: Job) -> PolicyFactory:
    if job.policy in OURS:
        factor = job.strain.profile_factor
        settings = replay_settings(job.scenario, profile_factor=factor)
        return lambda world: wva_policy(world, settings, keda=job.policy == "wva-keda")
    if job.policy not in known_policies():
        raise ConfigError(f"--policy {job.policy}: known are {', '.join(known_policies())}")
    return baseline(job.policy, job.setting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """A bound's runs with some headroom over the true rate."""

    ratio: float
    runs: list[Summary]

    @property
    def attainment(self) -> float:
        """Mean over the seeds."""
        return float(np.mean([run.figures["attainment"] for run in self.runs]))

    @property
    def cost(self) -> float:
        """Mean over the seeds."""
        return float(np.mean([run.figures["cost"] for run in self.runs]))


def raise_headroom(
    scenario: Scenario,
    policy: str,
    seeds: Sequence[int],
    *,
    workers: int,
    done: Callable[[Summary], None],
    strain: Strain | None = None,
) -> list[Headroom]:
    """Raise a bound's headroom until attainment is good or nothing helps; return each step."""
    steps: list[Headroom] = []
    best_attainment, since = -1.0, 0
    for step in range(round(LARGEST_HEADROOM / HEADROOM_STEP) + 1):
        ratio = step * HEADROOM_STEP
        jobs = [
            Job(
                scenario=scenario,
                policy=policy,
                seed=seed,
                setting=f"{ratio:.2f}",
                strain=strain or Strain(),
            )
            for seed in seeds
        ]
        tried = Headroom(ratio=ratio, runs=run_jobs(jobs, workers=workers, done=done))
        steps.append(tried)
        since = 0 if tried.attainment > best_attainment + LEAST_GAIN else since + 1
        best_attainment = max(best_attainment, tried.attainment)
        if tried.attainment >= GOOD_ATTAINMENT or since >= PATIENCE:
            break
    return steps


def best_of(steps: Sequence[Headroom]) -> Headroom:
    """Return the first step that no later one improves on."""
    most = max(step.attainment for step in steps)
    return next(step for step in steps if step.attainment > most - LEAST_GAIN)
