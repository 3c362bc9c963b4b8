"""`wva doctor` on a real control plane: what it finds, and that its mends mend."""

import asyncio
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.helpers.manifests import rendered

from .cluster import ControlPlane
from .kube_api import eventually, path_of
from .outcomes import Outcome
from .shared_stage import resting
from .stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLUSTER_ROLE = path_of("ClusterRole", "wva", version="rbac.authorization.k8s.io/v1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with resting(plane, tmp_path_factory.mktemp("doctor")) as stage:
        await stage.until_condition(
            "chat", "ScalingActive", lambda found: found.get("status") == "True",
            within_s=30, what="the HPA reads the decision",
        )  # fmt: skip
        for content in rendered("overlays/hpa"):
            if content["kind"] in {"ClusterRole", "ClusterRoleBinding"}:
                await stage.kube.apply(content)
        # A test runs the adapter itself; the doctor looks for the Deployment of the manifests.
        labels = {"app.kubernetes.io/name": "wva"}
        pod = {"containers": [{"name": "wva", "image": "wva-adapter"}]}
        own = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "wva", "namespace": "wva-system"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
        await stage.kube.apply(own)
        yield stage
        await stage.kube.delete(
            path_of("Deployment", "wva", version="apps/v1", namespace="wva-system")
        )


async def test_doctor_finds_a_following_hpa_in_order(lab: Stage, outcome: Outcome) -> None:
    found = await _doctor(lab)
    about = {(f["check"], f["subject"]): f["level"] for f in found}
    variant = f"{lab.namespace}/chat"
    assert about["signals", variant] == about["target", variant] == about["hpa", variant] == "OK"
    assert about["apiservice", "v1beta1.external.metrics.k8s.io"] == "OK"
    rights = {(f["subject"], f["level"]) for f in found if f["check"] == "rbac"}
    assert rights == {
        ("system:serviceaccount:wva-system:wva", "OK"),
        ("system:serviceaccount:kube-system:horizontal-pod-autoscaler", "OK"),
    }


async def test_what_the_doctor_says_mends_an_hpa_that_multiplies(
    lab: Stage, outcome: Outcome
) -> None:
    path = path_of(
        "HorizontalPodAutoscaler", "chat", version="autoscaling/v2", namespace=lab.namespace
    )
    before = (await lab.kube.get(path))["spec"]
    broken = [{"op": "replace", "path": "/spec/metrics/0/external/target",
               "value": {"type": "Value", "value": "1"}}]  # fmt: skip
    patched = await lab.world.kubectl(
        "patch", "hpa", "chat", "-n", lab.namespace, "--type=json", "-p", json.dumps(broken)
    )
    assert patched.code == 0, patched.error
    (finding,) = [f for f in await _doctor(lab) if "would multiply" in f["message"]]
    assert finding["level"] == "FAIL"
    _, *mend = shlex.split(finding["remedy"])
    assert (await lab.world.kubectl(*mend)).code == 0
    assert (await lab.kube.get(path))["spec"] == before
    assert [f for f in await _doctor(lab) if "would multiply" in f["message"]] == []


async def test_right_that_is_taken_away_is_named_and_what_for(lab: Stage, outcome: Outcome) -> None:
    role = await lab.kube.get(CLUSTER_ROLE)
    without = [rule for rule in role["rules"] if rule.get("resources") != ["nodes"]]
    await lab.kube.patch(CLUSTER_ROLE, {"rules": without})
    try:
        missing = await eventually(
            lambda: _failures(lab, "rbac"), within_s=15, every_s=1, what="a missing right"
        )
        assert {f["message"] for f in missing} == {
            f"may not {verb} nodes: accelerators aren't counted: no limit but the settings'"
            for verb in ("list", "watch")
        }
    finally:
        await lab.kube.patch(CLUSTER_ROLE, {"rules": role["rules"]})


async def test_without_rights_of_its_own_the_doctor_says_what_it_may_not_see(
    lab: Stage, outcome: Outcome
) -> None:
    token = await lab.kube.token("reader", namespace=lab.namespace)
    plane = lab.world.plane
    kubeconfig = plane.authorities.kubeconfig_of_token("reader", plane.url, token)
    found = await _doctor(lab, kubeconfig=str(kubeconfig))
    levels = {f["check"]: f["level"] for f in found}
    assert levels["adapter"] == levels["hpa"] == levels["apiservice"] == "SKIP"
    assert "FAIL" not in levels.values()


async def _failures(lab: Stage, check: str) -> list[Any]:
    return [f for f in await _doctor(lab) if f["check"] == check and f["level"] == "FAIL"]


async def _doctor(lab: Stage, *, kubeconfig: str = "") -> list[Any]:
    admin = str(lab.world.plane.admin_kubeconfig)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "adapter", "doctor", "--json"),
        env={**os.environ, "KUBECONFIG": kubeconfig or admin},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(child.communicate(), timeout=60)
    assert child.returncode in {0, 1}, errors.decode()
    return list(json.loads(output)["findings"])
