"""What the doctor sees of a healthy cluster, to break one thing at a time."""

import copy
from dataclasses import replace
from typing import Any

from adapter.doctor.evidence import Evidence, Right
from adapter.doctor.examine import examine
from adapter.doctor.findings import Finding, Level
from tests.helpers.manifests import MANIFESTS, read

NOW_UNIX_S = 1_800_000_000.0
NAME = ("default", "llama-8b-h100")
ACCOUNT = "system:serviceaccount:wva-system:wva"


def example(file: str) -> Any:
    return copy.deepcopy(read(MANIFESTS / "examples" / file))


def tolerant_hpa() -> Any:
    hpa = example("hpa.yaml")
    hpa["spec"]["behavior"]["scaleUp"]["tolerance"] = "0"
    hpa["spec"]["behavior"]["scaleDown"]["tolerance"] = "0"
    return hpa


def tolerant_scaled_object() -> Any:
    scaled = example("scaled-object.yaml")
    behavior = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    behavior["scaleUp"]["tolerance"] = behavior["scaleDown"]["tolerance"] = "0"
    return scaled


def explanation(**changes: Any) -> dict[str, Any]:
    return {
        "labels": {"accelerator_type": "H100", "service_class": "premium"},
        "freshness": {"state": "fresh"},
        "message": "",
        "inputs": {"ready_replicas": {"value": 2.0}, "output_tokens_mean": {"value": 250.0}},
        "measured": {"ttft_p95_s": {"value": 0.5}, "itl_p95_s": {"value": 0.04}},
        **changes,
    }


def target(**pod: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 60, **pod}}}}


def api_service(owner: str = "wva", namespace: str = "wva-system", **spec: Any) -> dict[str, Any]:
    available = {"type": "Available", "status": "True", "reason": "Passed", "message": ""}
    return {
        "spec": {"service": {"name": owner, "namespace": namespace}, "caBundle": "eA==", **spec},
        "status": {"conditions": [available]},
    }


def healthy(**changes: Any) -> Evidence:
    seen = Evidence(
        namespace="wva-system",
        version={"major": "1", "minor": "36", "gitVersion": "v1.36.3"},
        api_service=api_service(),
        deployment={"spec": {"replicas": 2}, "status": {"readyReplicas": 2}},
        lease={"spec": {"holderIdentity": "wva-a", "renewTime": "2027-01-15T08:00:00.000000Z"}},
        rights=(Right(ACCOUNT, "list", "pods", "engines aren't found", allowed=True),),
        hpas=(tolerant_hpa(),),
        targets={(NAME[0], "Deployment", NAME[1]): target()},
        explanations={NAME: explanation()},
        clock_ahead_s=0.0,
        server_unix_s=NOW_UNIX_S,
    )
    return replace(seen, **changes)


def complaints(seen: Evidence) -> list[Finding]:
    """Return the findings that aren't good."""
    return [finding for finding in examine(seen) if finding.level is not Level.OK]
