"""Publication and what was told before -> what has happened since. Pure.

A change of a count is told each time; a state (infeasible, constrained, held) when it
begins, and again only after it has ended. The first publication that is seen tells no
change: a new leader doesn't repeat what the old one said.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..explain import BINDING_MEANINGS, BRAKE_MEANINGS
from ..records import Freshness, Publication, VariantKey
from .subjects import Subject, parse_subject, subjects_of

__all__ = ["Happening", "Told", "happenings"]

NORMAL, WARNING = "Normal", "Warning"
MESSAGE_BYTES = 1024  # a longer one is refused by the API server


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing to tell of an object."""

    subject: Subject
    kind: str  # Normal or Warning
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Told:
    """What was told, to tell what is new."""

    desired: Mapping[VariantKey, float] = field(default_factory=dict)
    states: frozenset[tuple[Subject, str]] = frozenset()


def happenings(
    publication: Publication, freshness: Sequence[Freshness], told: Told | None
) -> tuple[list[Happening], Told]:
    """Return what to tell, and what will have been told then.

    Parameters
    ----------
    publication : Publication
    freshness : sequence of Freshness
        Of each variant, now.
    told : Told or None
        From the call before; None at the first.
    """
    subjects = subjects_of(publication)
    wanted = publication.values["wva_desired_replicas"].tolist()
    desired = dict(zip(publication.variants, wanted, strict=True))
    changes: list[Happening] = []
    states: dict[tuple[Subject, str], Happening] = {}
    for row, key in enumerate(publication.variants):
        if key not in subjects:
            continue
        if told is not None and key in told.desired:
            changes += _changed(publication, row, subjects[key], told.desired[key], desired[key])
        for state in _states(publication, row, subjects[key], freshness[row]):
            states[state.subject, state.reason] = state
    for state in _faults(publication):
        states[state.subject, state.reason] = state
    new = states.keys() - (told.states if told is not None else frozenset())
    begun = [state for key, state in states.items() if key in new]
    return [*changes, *begun], Told(desired, frozenset(states))


def _changed(
    publication: Publication, row: int, subject: Subject, before: float, now: float
) -> Iterator[Happening]:
    if now == before or not (math.isfinite(now) and math.isfinite(before)):
        return
    reason = "ScaledUp" if now > before else "ScaledToZero" if now == 0 else "ScaledDown"
    words = BINDING_MEANINGS.get(_binding(publication, row), "")
    yield Happening(
        subject,
        NORMAL,
        reason,
        _cut(
            f"desired replicas of {publication.variants[row].name}: {before:g} to {now:g} ({words})"
        ),
    )


def _states(
    publication: Publication, row: int, subject: Subject, freshness: Freshness
) -> Iterator[Happening]:
    """Yield the states that a variant is in which somebody should know of."""
    name = publication.variants[row].name
    binding, texts = _binding(publication, row), publication.texts
    if freshness is not Freshness.FRESH:
        missing = publication.message[row] or "readings are too old"
        state = "refused" if freshness is Freshness.REFUSED else "held"
        yield _warning(subject, "MetricsUnavailable", f"decision on {name} is {state}: {missing}")
    if binding == "SloInfeasible":
        yield _warning(subject, "SloInfeasible", f"{name}: {BINDING_MEANINGS[binding]}")
    constrained = _constrained(publication, row, binding)
    if constrained:
        yield _warning(subject, "ResourceConstrained", f"{name}: {constrained}")
    limit = texts["hpa_limit"][row] if "hpa_limit" in texts else ""
    if limit:
        yield _warning(subject, "DecisionLimited", f"{name}: the HPA doesn't follow, {limit}")
    risk = texts["fallback_risk"][row] if "fallback_risk" in texts else ""
    if risk:
        yield _warning(subject, "FallbackCanLower", f"{name}: {risk}")


def _constrained(publication: Publication, row: int, binding: str) -> str:
    """Return what keeps a variant from the replicas that it needs, "" if nothing does."""
    if binding in {"MaxReplicas", "Capacity", "Priority"}:
        return BINDING_MEANINGS[binding]
    if publication.texts.get("brake", ("",) * (row + 1))[row] == "Budget":
        return BRAKE_MEANINGS["Budget"]
    return publication.texts["stuck"][row] if "stuck" in publication.texts else ""


def _faults(publication: Publication) -> Iterator[Happening]:
    """Yield what is wrong with objects that declare variants."""
    for fault in publication.report.faults:
        subject = parse_subject(fault.source)
        if subject is not None:
            yield _warning(subject, "InvalidConfiguration", fault.message)


def _warning(subject: Subject, reason: str, message: str) -> Happening:
    return Happening(subject, WARNING, reason, _cut(message))


def _binding(publication: Publication, row: int) -> str:
    return publication.binding_names[int(publication.binding[row])]


def _cut(message: str) -> str:
    raw = message.encode()
    return (
        message
        if len(raw) <= MESSAGE_BYTES
        else raw[: MESSAGE_BYTES - 3].decode(errors="ignore") + "…"
    )
