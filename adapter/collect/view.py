"""The engines' part of a Snapshot, whatever it was read from; and how scraped pages become it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..records import Readings, Reason, ReplicaState
from .engines import EngineTable
from .fleet import Fleet
from .readings import replica_readings, variant_readings
from .scrape import Scraper
from .targets import Targets

__all__ = ["EngineView", "engine_view", "scraped_view"]

# What a replica that nobody lists as ready answers with while its process is up.
_UP = (Reason.HTTP_STATUS, Reason.MALFORMED, Reason.WRONG_MODEL, Reason.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EngineView:
    """Replicas and variants as their engines were last read; the fields are the Snapshot's."""

    replica_id: tuple[str, ...]
    replica_variant: NDArray[np.int64]
    replica_state: NDArray[np.int8]
    replica_age_s: NDArray[np.float64]
    replica: Mapping[str, Readings]
    variant: Mapping[str, Readings]
    current_replicas: NDArray[np.int64]
    ready_replicas: NDArray[np.int64]
    dialect: tuple[str, ...]
    replica_missed: NDArray[np.bool_] | None = None


def scraped_view(
    scraper: Scraper, fleet: Fleet, *, variants: int, now_s: float, max_age_s: float
) -> EngineView:
    """Return what the last scrapes say of the fleet at `now_s`.

    A replica that couldn't be read this time stands with its last reading until that is
    `max_age_s` old.
    """
    rows = [[target.row for target in targets] for targets in scraper.by_replica]
    return engine_view(
        scraper.table,
        rows,
        scraper.dialect,
        fleet,
        variants=variants,
        now_s=now_s,
        max_age_s=max_age_s,
    )


def engine_view(
    table: EngineTable,
    rows: Sequence[Sequence[int]],
    dialect: Sequence[str],
    fleet: Fleet,
    *,
    variants: int,
    now_s: float,
    max_age_s: float,
) -> EngineView:
    """Return what a table says of the fleet; `rows` are those of each replica's targets."""
    count = len(fleet.replicas)
    row = np.array([target for targets in rows for target in targets], dtype=np.int64)
    replica = np.repeat(np.arange(count), [len(targets) for targets in rows]).astype(np.int64)
    replica_variant = np.array([one.variant for one in fleet.replicas], dtype=np.int64)
    age_s = now_s - table.read_s[row]
    fresh = age_s <= max_age_s  # NaN, never read, compares false
    fault = table.fault[row]
    stale = np.where(fault == Reason.PRESENT, Reason.STALE, fault)
    unread = np.where(fresh, Reason.PRESENT, stale).astype(np.uint8)
    by_replica = Targets(row=row, group=replica, groups=count, unread=unread)
    by_variant = Targets(row=row, group=replica_variant[replica], groups=variants, unread=unread)
    state = _states(fleet, replica, fresh=fresh, fault=fault, read=np.isfinite(age_s))
    return EngineView(
        replica_id=tuple(one.name for one in fleet.replicas),
        replica_variant=replica_variant,
        replica_state=state,
        replica_age_s=_oldest(age_s, replica, count),
        replica=replica_readings(table, by_replica),
        variant=variant_readings(table, by_variant),
        current_replicas=fleet.current,
        ready_replicas=_ready(fleet, state, replica_variant, variants),
        dialect=tuple(dialect),
        replica_missed=np.bincount(replica[fault != Reason.PRESENT], minlength=count) > 0,
    )


def _states(
    fleet: Fleet,
    replica: NDArray[np.int64],
    *,
    fresh: NDArray[np.bool_],
    fault: NDArray[np.uint8],
    read: NDArray[np.bool_],
) -> NDArray[np.int8]:
    """Return the replicas' states: the list's word, or else what their engines' answers tell.

    Where no list says, a replica is ready once it has answered, and stays so while it is silent:
    only one that refuses connections, and has for as long as a reading may be old, is gone.
    """
    count = len(fleet.replicas)
    gone = ~fresh & (fault == Reason.UNREACHABLE)
    up = (read & ~gone) | np.isin(fault, _UP)
    down = np.ones(count, dtype=np.bool_)
    down[replica] = False
    down[replica[~up]] = True
    found = np.where(down, ReplicaState.STARTING, ReplicaState.READY)
    listed = [found[i] if one.state is None else one.state for i, one in enumerate(fleet.replicas)]
    return np.array(listed, dtype=np.int8)


def _oldest(
    age_s: NDArray[np.float64], replica: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Return the age of each replica's oldest reading; NaN if one was never had."""
    oldest = np.zeros(count)
    np.maximum.at(oldest, replica, np.nan_to_num(age_s))
    heard = np.bincount(replica, minlength=count) > 0
    never = np.bincount(replica[np.isnan(age_s)], minlength=count) > 0
    return np.where(heard & ~never, oldest, np.nan)


def _ready(
    fleet: Fleet, state: NDArray[np.int8], replica_variant: NDArray[np.int64], variants: int
) -> NDArray[np.int64]:
    """Return the lists' counts; where they are of endpoints alone, those that are up."""
    up = state == ReplicaState.READY
    counted = np.bincount(replica_variant[up], minlength=variants)
    static = (fleet.ready < 0) & (fleet.current >= 0)
    return np.where(static, counted, fleet.ready).astype(np.int64)
