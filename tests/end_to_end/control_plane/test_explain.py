"""`wva explain` with nothing but a kubeconfig: the cluster's RBAC says who is answered."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .cluster import ControlPlane
from .kube_api import path_of
from .objects import API_SERVICE
from .outcomes import Outcome
from .shared_stage import resting
from .stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with resting(plane, tmp_path_factory.mktemp("explain")) as stage:
        yield stage


async def test_whoever_may_read_explanations_is_told(lab: Stage, outcome: Outcome) -> None:
    config = await kubeconfig_of(lab, "reader")
    code, output, _ = await explain(config, f"{lab.namespace}/chat")
    assert code == 0
    assert output.startswith(f"{lab.namespace}/chat: ")
    assert "because" in output
    code, output, _ = await explain(config, f"{lab.namespace}/chat", "--json")
    assert (code, json.loads(output)["variant"]) == (0, "chat")
    code, output, _ = await explain(config, f"{lab.namespace}/")
    assert (code, "chat" in output) == (0, True)


async def test_whoever_may_not_is_told_what_allows_it(lab: Stage, outcome: Outcome) -> None:
    await lab.kube.apply(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "nobody", "namespace": lab.namespace},
        }
    )
    code, output, errors = await explain(await kubeconfig_of(lab, "nobody"), f"{lab.namespace}/x")
    assert (code, output) == (1, "")
    assert "403" in errors
    assert "cluster-role-view.yaml" in errors
    assert len(errors.splitlines()) == 1


async def test_a_variant_that_is_not_there_is_named_with_those_that_are(
    lab: Stage, outcome: Outcome
) -> None:
    code, _, errors = await explain(
        str(lab.world.plane.admin_kubeconfig), f"{lab.namespace}/mistral"
    )
    assert code == 1
    assert "no variant 'mistral'" in errors
    assert "chat" in errors


async def test_without_an_apiservice_the_way_to_an_adapter_is_told(
    lab: Stage, outcome: Outcome
) -> None:
    path = path_of("APIService", API_SERVICE, version="apiregistration.k8s.io/v1")
    before = await lab.kube.get(path)
    await lab.kube.delete(path)
    try:
        code, _, errors = await explain(str(lab.world.plane.admin_kubeconfig), "a/b")
        assert code == 1
        assert "no adapter has external.metrics.k8s.io here: make install" in errors
    finally:
        before["metadata"] = {"name": API_SERVICE}
        await lab.kube.apply(before)


async def kubeconfig_of(lab: Stage, account: str) -> str:
    token = await lab.kube.token(account, namespace=lab.namespace)
    plane = lab.world.plane
    return str(plane.authorities.kubeconfig_of_token(account, plane.url, token))


async def explain(kubeconfig: str, *arguments: str) -> tuple[int | None, str, str]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "adapter", "explain", *arguments),
        env={**os.environ, "KUBECONFIG": kubeconfig},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(child.communicate(), timeout=60)
    return child.returncode, output.decode(), errors.decode()
