"""Shared certificates: one set for all replicas, renewed in an order that breaks nobody."""

import asyncio
import base64
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from adapter.kube.serving_secret import ServingSecret
from adapter.self_made import AUTHORITY_LIFE, AUTHORITY_RENEWAL, PAIR_LIFE, PAIR_RENEWAL, renewed
from tests.helpers.clocks import ManualClock
from tests.helpers.fake_cluster import failure, fake_cluster, transport_to

PATH = "/api/v1/namespaces/wva-system/secrets/wva-serving"
NAMES = ("wva.wva-system.svc",)
NOW = datetime(2027, 6, 1, tzinfo=UTC)


@pytest.fixture
async def cluster():
    async with fake_cluster() as fake:
        yield fake


@pytest.fixture
async def replicas(cluster):
    """Replicas with connections and clocks of their own."""
    async with contextlib.AsyncExitStack() as stack:

        async def new(*, off: timedelta = timedelta()) -> ServingSecret:
            transport = await stack.enter_async_context(transport_to(cluster.url))
            clock = ManualClock(now_s=0.0, unix_offset_s=(NOW + off).timestamp())
            return ServingSecret(
                transport, namespace="wva-system", name="wva-serving", names=NAMES, clock=clock
            )

        yield new


def kept(cluster, state) -> None:
    data = {k: base64.b64encode(v).decode() for k, v in state.to_mapping().items()}
    cluster.put(PATH, {"type": "kubernetes.io/tls", "data": data})


class Announced:
    def __init__(self, cluster) -> None:
        self.cluster = cluster
        self.bundles: list[bytes] = []
        self.before: list[str] = []

    async def __call__(self, bundle: bytes) -> None:
        self.bundles.append(bundle)
        self.before.append(self.cluster.objects.get(PATH, {}).get("data", {}).get("tls.crt", ""))


async def test_replicas_that_start_together_end_up_with_the_same(cluster, replicas):
    each = [await replicas() for _ in range(4)]
    states = await asyncio.gather(*(one.obtain() for one in each))
    assert len({state.bundle_pem for state in states}) == 1
    assert len({state.pair.certificate_pem for state in states}) == 1
    assert cluster.objects[PATH]["type"] == "kubernetes.io/tls"


async def test_nothing_is_written_before_it_is_due(cluster, replicas):
    one, announced = await replicas(), Announced(cluster)
    state = await one.obtain()
    version = cluster.objects[PATH]["metadata"]["resourceVersion"]
    assert (await one.renew(announced)) == state
    assert announced.bundles == []
    assert cluster.objects[PATH]["metadata"]["resourceVersion"] == version


async def test_a_certificate_that_is_due_is_renewed_after_clients_know_its_authority(
    cluster, replicas
):
    old = renewed(None, NAMES, NOW - PAIR_LIFE + PAIR_RENEWAL - timedelta(days=1))
    kept(cluster, old)
    one, announced = await replicas(), Announced(cluster)
    state = await one.renew(announced)
    assert state.pair != old.pair
    assert state.authorities == old.authorities
    assert announced.bundles == [old.bundle_pem]
    # It was announced while the old one was still in the Secret.
    assert announced.before == [base64.b64encode(old.pair.certificate_pem).decode()]
    assert (await (await replicas()).obtain()) == state


async def test_a_new_authority_joins_the_bundle_and_signs_nothing_yet(cluster, replicas):
    long_ago = NOW - AUTHORITY_LIFE + AUTHORITY_RENEWAL - timedelta(days=1)
    old = renewed(None, NAMES, long_ago)
    old = renewed(old, NAMES, NOW - timedelta(days=2))  # its pair is fresh
    old = type(old)(old.authorities[-1:], renewed(old, NAMES, NOW - timedelta(days=2)).pair)
    kept(cluster, old)
    one, announced = await replicas(), Announced(cluster)
    state = await one.renew(announced)
    assert len(state.authorities) == 2
    assert announced.bundles == [state.bundle_pem]
    assert state.authorities[1].signs(state.pair.certificate)


async def test_of_two_that_renew_one_writes_and_the_other_takes_it_over(cluster, replicas):
    kept(cluster, renewed(None, NAMES, NOW - timedelta(days=61)))
    one, two = await replicas(), await replicas(off=timedelta(minutes=5))
    states = await asyncio.gather(one.renew(Announced(cluster)), two.renew(Announced(cluster)))
    assert any(state is not None for state in states)
    again = await asyncio.gather(one.renew(Announced(cluster)), two.renew(Announced(cluster)))
    assert again[0] == again[1]


async def test_what_cannot_be_used_is_made_anew_and_what_else_is_there_stays(cluster, replicas):
    cluster.put(PATH, {"type": "Opaque", "data": {"tls.crt": "bm8=", "note": "aGk="}})
    state = await (await replicas()).renew(Announced(cluster))
    assert state is not None
    assert cluster.objects[PATH]["type"] == "Opaque"
    assert cluster.objects[PATH]["data"]["note"] == "aGk="
    assert (await (await replicas()).obtain()) == state


@pytest.mark.parametrize("code", [403, 503])
async def test_a_secret_that_cannot_be_had_is_told_and_changes_nothing(
    cluster, replicas, caplog, code
):
    one = await replicas()
    cluster.fault = lambda *_: failure(code, "No", "no secrets for you")
    assert await one.obtain() is None
    assert await one.renew(Announced(cluster)) is None
    assert "no secrets for you" in one.problem
    assert caplog.text.count("can't be used") == 1
    cluster.fault = None
    assert await one.obtain() is not None
    assert one.problem == ""
