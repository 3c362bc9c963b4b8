"""One decision from one snapshot: analyze -> plan -> guard -> publish. Pure.

The loop, the benches and the replay call this; none of them decides anything itself.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from optimizer import Plan, PlanRequest, Policy, Recall, plan

from .analyze import Memory, analyze
from .catalog import Catalog
from .codec import SAVED
from .departing import departing_replicas, with_departing, without_departing
from .guard import GuardState, guard
from .publish import publish
from .records import Publication, Snapshot, TickReport
from .resume import Resume, watched

__all__ = ["DecisionMemory", "decide", "policy_of"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecisionMemory:
    """Everything that one decision leaves for the next."""

    analysis: Memory
    guard: GuardState
    sequence: int
    resume: Resume = field(default_factory=Resume.nothing)
    recall: Recall = field(default_factory=Recall, metadata={SAVED: False})

    @classmethod
    def empty(cls) -> "DecisionMemory":
        """Return the memory of an adapter that has just started."""
        return cls(analysis=Memory.empty(), guard=GuardState.empty(), sequence=0)


def policy_of(catalog: Catalog) -> Policy:
    """Return the decision's scalars as the settings give them."""
    settings = catalog.settings
    source = settings.sources.prometheus or settings.sources.scraping
    window_s = source.window_s if source is not None else 60.0
    return Policy(
        stability_margin_ratio=settings.stability_margin_ratio,
        down_window_s=settings.down_window_s,
        down_hysteresis_ratio=settings.down_hysteresis_ratio,
        patience_ratio=settings.patience_ratio,
        upper_need_ratio=settings.upper_need_ratio,
        expected_after_rises=settings.expected_after_rises,
        change_price_ratio=settings.change_price_ratio,
        energy_price_per_kwh=settings.energy_price_per_kwh,
        zero_after_s=settings.zero_after_s,
        observation_window_s=window_s,
        **settings.mechanisms.model_dump(),
    )


def decide(
    snapshot: Snapshot, catalog: Catalog, memory: DecisionMemory, *, report: TickReport
) -> tuple[Publication, DecisionMemory]:
    """Return the publication for `snapshot` and the memory for the next decision."""
    policy = policy_of(catalog)
    analysis = analyze(snapshot, catalog, memory.analysis, policy=policy)
    decision = _planned(replace(analysis.request, recall=memory.recall), snapshot)
    variants, around = analysis.request.variants, snapshot.circumstances
    now_s, complete = snapshot.taken_s, ~(variants.partial | variants.blind)
    guarded = guard(
        memory.guard,
        desired=decision.desired,
        current=variants.current_replicas,
        complete=complete,
        cold_start_s=decision.cold_start_s,
        catalog=catalog,
        now_s=now_s,
        rolling=around.rolling if around is not None else None,
        reachable=around.reachable_replicas if around is not None else None,
    )
    # Nothing that was read says what a target has that isn't there, or not yet.
    age_s = analysis.reading_age_s
    if around is not None and around.absent is not None:
        age_s = np.where(around.absent, np.inf, age_s)
    resume = watched(
        memory.resume,
        names=catalog.variant_names,
        complete=complete,
        reading_age_s=age_s,
        now_s=now_s,
    )
    sequence = memory.sequence + 1
    publication = publish(
        plan=decision,
        guarded=guarded,
        analysis=replace(analysis, reading_age_s=resume.reading_age_s(age_s, now_s)),
        floor=resume.floor(
            max(policy.down_window_s, policy.observation_window_s),
            (variants.max_replicas + catalog.settings.max_nudge_replicas).astype(float),
        ),
        snapshot=snapshot,
        catalog=catalog,
        sequence=sequence,
        report=report,
    )
    return publication, DecisionMemory(
        analysis=replace(analysis.memory, plan=decision.state),
        guard=guarded.state,
        sequence=sequence,
        resume=resume,
        recall=decision.recall,
    )


def _planned(request: PlanRequest, snapshot: Snapshot) -> Plan:
    """Return the plan, in which replicas that are about to go are replaced beforehand."""
    departing = departing_replicas(snapshot)
    if departing is None:
        return plan(request)
    return with_departing(plan(without_departing(request, departing)), request, departing)
