"""What becomes of our answers in KEDA's hands: up, down, to zero, from zero, and outages."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.helpers.keda_operator import Fallback, KedaOperator

from .test_keda import DESIRED, VARIANT, Rig, until

LOOK = ["GetMetricSpec", "GetMetrics", "IsActive"]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Rig() as one:
        yield one


def operator(rig: Rig, **more) -> KedaOperator:
    return KedaOperator(rig.channel(), VARIANT, **more)


async def followed(keda: KedaOperator, now_s: float) -> int:
    """Let KEDA poll and its HPA sync once; return the replicas after both."""
    await keda.poll(now_s)
    await keda.sync()
    return keda.replicas


async def test_each_look_asks_for_spec_metrics_and_activity_in_this_order(rig):
    rig.publish(3)
    keda = operator(rig)
    await keda.reconcile()
    assert keda.metric == f"s0-{DESIRED}"
    keda.calls.clear()
    await followed(keda, 0.0)
    assert keda.calls == LOOK * 2  # the poll's and the HPA's


async def test_cached_metrics_answer_the_hpa_from_the_last_poll(rig):
    rig.publish(3)
    keda = operator(rig, cached=True)
    await keda.reconcile()
    await keda.poll(0.0)
    keda.calls.clear()
    rig.publish(9)
    await keda.sync()
    assert (keda.replicas, keda.calls) == (3, [])
    assert await followed(keda, 5.0) == 9


async def test_up_down_and_to_zero_after_the_cooldown(rig):
    keda = operator(rig)
    rig.publish(1)
    await keda.reconcile()
    counts = []
    for now_s, desired in ((0, 1), (30, 7), (60, 4), (90, 1), (120, 0), (390, 0), (391, 0)):
        rig.publish(desired)
        counts.append(await followed(keda, float(now_s)))
    assert counts == [1, 7, 4, 1, 1, 1, 0]  # 300 s after 90, when it was last active


async def test_a_push_wakes_it_between_two_polls_and_false_is_ignored(rig):
    rig.publish(0)
    keda = operator(rig, replicas=0)
    await keda.reconcile()
    listening = asyncio.create_task(keda.listen(lambda: 7.0, asyncio.sleep))
    await until(lambda: rig.server.scaler.open_streams == 1)
    rig.publish(2)
    await until(lambda: keda.replicas == 1)
    assert keda.last_active_s == 7.0
    assert keda.calls.count("IsActive") == 0
    rig.publish(0)
    await asyncio.sleep(0.1)
    assert keda.replicas == 1
    listening.cancel()


async def test_a_push_before_there_is_an_hpa_is_said_again(rig):
    """KEDA drops a push while it doesn't know the metric's name; the poll acts meanwhile."""
    rig.server.scaler._resend_s = 0.05
    rig.publish(1)
    keda = operator(rig, replicas=0)
    listening = asyncio.create_task(keda.listen(lambda: 0.0, asyncio.sleep))
    await until(lambda: rig.server.scaler.open_streams == 1)
    await asyncio.sleep(0.1)
    assert keda.replicas == 0
    await keda.reconcile()
    await until(lambda: keda.replicas == 1)
    listening.cancel()


async def test_a_variant_that_is_found_later_is_woken_on_the_first_stream(rig):
    """Each error would double the time until KEDA listens again."""
    rig.publish(1, name="team-a/other")
    keda = operator(rig, replicas=0)
    await keda.reconcile()
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0.01)

    listening = asyncio.create_task(keda.listen(lambda: 0.0, wait))
    await until(lambda: rig.server.scaler.open_streams == 1)
    rig.publish(1)
    await until(lambda: keda.replicas == 1)
    assert waits == []
    listening.cancel()


async def test_a_clean_stop_has_keda_listen_again_after_two_seconds(rig):
    rig.publish(1)
    keda = operator(rig, replicas=0)
    await keda.reconcile()
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(3600)

    listening = asyncio.create_task(keda.listen(lambda: 0.0, wait))
    await until(lambda: keda.replicas == 1)
    await rig.server.stop(1.0)
    await until(lambda: waits == [2.0])
    listening.cancel()


HIGHER = Fallback(2, 6, "currentReplicasIfHigher")


@pytest.mark.parametrize(
    ("fallback", "after"),
    [
        pytest.param(None, 4, id="no-fallback"),
        pytest.param(HIGHER, 6, id="if-higher-than-there-is"),
        pytest.param(Fallback(2, 1, "currentReplicasIfHigher"), 4, id="if-higher-than-its-count"),
    ],
)
async def test_a_decision_that_is_refused_reaches_the_fallback(rig, fallback, after):
    rig.publish(4)
    keda = operator(rig, fallback=fallback, cooldown_s=0.0)
    await keda.reconcile()
    assert await followed(keda, 0.0) == 4
    rig.clock.advance(1e4)  # longer than it is held
    for now_s in range(10, 60, 10):
        assert await followed(keda, float(now_s)) >= 4
    assert keda.replicas == after
    rig.publish(5)
    assert await followed(keda, 70.0) == 5


@pytest.mark.parametrize("fallback", [None, HIGHER], ids=["no-fallback", "fallback"])
async def test_a_server_that_is_down_freezes_what_there_is(rig, fallback):
    """Without a spec KEDA asks for no metric, so that it never falls back."""
    rig.publish(4)
    keda = operator(rig, fallback=fallback, cooldown_s=0.0)
    await keda.reconcile()
    assert await followed(keda, 0.0) == 4
    await rig.server.stop(0.0)
    for now_s in range(10, 60, 10):
        assert await followed(keda, float(now_s)) == 4
    assert keda.calls[-2:] == ["GetMetricSpec"] * 2  # tried once more on a new scaler


async def test_missing_readings_never_send_it_to_sleep(rig):
    rig.publish(3)
    keda = operator(rig, cooldown_s=0.0)
    await keda.reconcile()
    assert await followed(keda, 0.0) == 3
    for age_s in (10.0, 40.0, 700.0, 1e5):
        rig.clock.advance(age_s)
        assert await followed(keda, age_s) == 3
