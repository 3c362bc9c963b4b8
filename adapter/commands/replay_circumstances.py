"""What a cluster would say of a simulated world's variants, found as `wva serve` finds it.

Simulated pods become the records that discovery keeps of real ones; from there on the code is
discovery's own: what can't start bounds what can be had, a rollout is told by its versions.
"""

import numpy as np

from adapter.config import Settings
from adapter.discovery.pods import Pod as PodRecord
from adapter.discovery.pods import Stuck
from adapter.discovery.replicas import Replicas, replicas_of
from adapter.records import Circumstances
from simulator.pod import Pod, PodState
from simulator.world import World

__all__ = ["circumstances_of"]

STAYING = (PodState.PENDING, PodState.STARTING, PodState.READY)
WORDS = ("declared_by", "accelerators", "hpa_limit", "zero", "fallback_risk")


def circumstances_of(world: World, settings: Settings) -> Circumstances:
    """Return what can be had of each variant, what is rolling, and how long starts took.

    Parameters
    ----------
    world : World
        As it is now.
    settings : Settings
        For the tolerance of the HPA that follows every variant.
    """
    seen = [_replicas(world, row) for row in range(len(world.variants))]
    nothing = ("",) * len(seen)
    return Circumstances(
        reachable_replicas=np.array(
            [-1 if each.reachable is None else each.reachable for each in seen], dtype=np.int64
        ),
        rolling=np.array([world.rolling(row) for row in range(len(seen))], dtype=np.bool_),
        tolerance_ratio=np.full(len(seen), settings.hpa_tolerance),
        cold_start_s=np.array(
            [np.nan if each.cold_start_s is None else each.cold_start_s for each in seen],
            dtype=np.float64,
        ),
        texts={
            **dict.fromkeys(WORDS, nothing),
            "stuck": tuple(each.stuck for each in seen),
        },
    )


def _replicas(world: World, row: int) -> Replicas:
    spec = world.variants[row]
    pods = [_record(pod) for pod in world.pods if pod.variant == row and pod.state in STAYING]
    return replicas_of("default", spec.name, None, pods)


def _record(pod: Pod) -> PodRecord:
    ready = pod.state is PodState.READY
    return PodRecord(
        namespace="default",
        name=pod.name,
        owner=("Deployment", ""),
        group=pod.name,
        leader=True,
        node="",
        ready=ready,
        leaving=False,
        stuck=Stuck.STOCKOUT if pod.state is PodState.PENDING else Stuck.NOT,
        url="",
        # Who was there before anything began shows no start.
        took_s=pod.ready_s - pod.created_s if ready and pod.ready_s > pod.created_s else None,
        accelerators=("", 0),
        template=str(pod.generation),
    )
