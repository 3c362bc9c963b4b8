"""The APIService: made where there is none, ours kept in step, a foreign one left alone."""

import base64

import pytest

from adapter.kube.api_service import API_SERVICE, ApiServiceKeeper
from tests.helpers.fake_cluster import failure, fake_cluster, transport_to

PATH = f"/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}"
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/wva"
KEDA = {
    "spec": {
        "group": "external.metrics.k8s.io",
        "version": "v1beta1",
        "service": {"name": "keda-operator-metrics-apiserver", "namespace": "keda"},
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
}


@pytest.fixture
async def cluster():
    async with fake_cluster() as fake:
        fake.put(ROLE, {"metadata": {"uid": "role-uid"}})
        yield fake


@pytest.fixture
async def keeper(cluster):
    async with transport_to(cluster.url) as transport:
        yield ApiServiceKeeper(
            transport,
            service="wva",
            namespace="wva-system",
            cluster_role="wva",
            bundle=lambda: b"bundle",
        )


async def test_it_is_made_where_there_is_none_and_goes_with_the_cluster_role(cluster, keeper):
    await keeper.ensure()
    assert keeper.problem == ""
    made = cluster.objects[PATH]
    assert made["spec"] == {
        "group": "external.metrics.k8s.io",
        "version": "v1beta1",
        "service": {"name": "wva", "namespace": "wva-system", "port": 443},
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "caBundle": base64.b64encode(b"bundle").decode(),
    }
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("ClusterRole", "wva", "role-uid")


async def test_nothing_is_written_while_it_is_as_it_should_be(cluster, keeper):
    await keeper.ensure()
    cluster.requests.clear()
    await keeper.ensure()
    assert cluster.requests == [("GET", PATH)]


async def test_another_bundle_is_applied_under_our_name_alone(cluster, keeper):
    await keeper.ensure()
    await keeper.ensure(b"old and new")
    assert cluster.objects[PATH]["spec"]["caBundle"] == base64.b64encode(b"old and new").decode()
    assert [each["manager"] for each in cluster.objects[PATH]["metadata"]["managedFields"]] == [
        "wva-adapter"
    ]
    assert cluster.requests[-1] == ("PATCH", PATH)


async def test_one_that_leads_to_us_is_taken_up_whoever_made_it(cluster, keeper):
    theirs = {"spec": {**KEDA["spec"], "service": {"name": "wva", "namespace": "wva-system"}}}
    cluster.put(PATH, theirs)
    await keeper.ensure()
    assert keeper.problem == ""
    assert cluster.objects[PATH]["spec"]["caBundle"] == base64.b64encode(b"bundle").decode()


@pytest.mark.parametrize(
    ("foreign", "owner"),
    [
        pytest.param(KEDA, "Service keda/keda-operator-metrics-apiserver", id="keda"),
        pytest.param({"spec": {"group": "g"}}, "the API server itself", id="local"),
    ],
)
async def test_a_foreign_one_is_left_as_it_is_and_its_owner_named(
    cluster, keeper, caplog, foreign, owner
):
    cluster.put(PATH, foreign)
    before = cluster.objects[PATH]
    await keeper.ensure()
    await keeper.ensure()
    assert cluster.objects[PATH] == before
    assert keeper.foreign_owner == owner
    assert owner in keeper.problem
    assert caplog.text.count(owner) == 1  # said once, not at every look
    assert {method for method, _ in cluster.requests} == {"GET"}
    # Its owner leaves: it is ours.
    del cluster.objects[PATH]
    await keeper.ensure()
    assert keeper.problem == ""
    assert keeper.foreign_owner == ""


async def test_one_that_is_taken_between_looking_and_writing_stays_taken(cluster, keeper):
    def somebody_is_faster(method, _path):
        if method in {"POST", "PATCH"}:
            cluster.fault = None
            cluster.put(PATH, KEDA)

    cluster.fault = somebody_is_faster
    await keeper.ensure()
    assert "already exists" in keeper.problem
    assert cluster.objects[PATH]["spec"] == KEDA["spec"]
    del cluster.objects[PATH]
    await keeper.ensure()
    cluster.fault = somebody_is_faster
    await keeper.ensure(b"new")
    assert "modified" in keeper.problem
    assert cluster.objects[PATH]["spec"] == KEDA["spec"]


async def test_missing_permission_is_told_with_its_remedy(cluster, keeper):
    cluster.fault = lambda *_: failure(403, "Forbidden", "cannot get apiservices")
    await keeper.ensure()
    assert "cannot get apiservices" in keeper.problem
    assert "ClusterRole wva" in keeper.problem


async def test_without_the_cluster_role_nothing_is_made_that_nobody_would_remove(cluster, keeper):
    del cluster.objects[ROLE]
    await keeper.ensure()
    assert "ClusterRole wva" in keeper.problem
    assert PATH not in cluster.objects
