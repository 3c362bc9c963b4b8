"""Record what the stock HPA controller decides: python -m tests.end_to_end.control_plane.record_hpa

A real kube-controller-manager, Deployments of which nobody runs the pods, and an external metrics
API whose values walk about. Whenever the controller asks for a metric, the scale is read before the
answer and again once the controller has acted on it: one decision each. The table is what the
simulator's HPA is held against (tests/simulator/test_hpa_recorded.py).
"""

import asyncio
import json
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from tests.helpers.certificates import Authority

from .binaries import MissingProgramsError, assets
from .cluster import ControlPlane
from .kube_api import Kube, path_of
from .objects import api_service, deployment, external_name, hpa
from .stage import create_namespace

TABLE = Path(__file__).parents[2] / "simulator" / "hpa_decisions.json"
NAMESPACE = "recorded"
DURATION_S = 240.0
SYNC_S = 2.0
ACTED_S = 0.7  # from the answer to the scale that follows from it
NEW_VALUE_S = 9.0
SEED = 5


def policy(kind: str, value: int, period_s: int) -> dict[str, Any]:
    return {"type": kind, "value": value, "periodSeconds": period_s}


def rules(window_s: int, *policies: dict[str, Any], select: str = "Max", **more: Any) -> Any:
    window = {"stabilizationWindowSeconds": window_s, "selectPolicy": select}
    return {**window, "policies": list(policies), **more}


FREE = rules(0, policy("Pods", 1000, 15))
# Windows and periods lie between multiples of the sync, so that no decision is at an edge.
BEHAVIORS: dict[str, dict[str, Any] | None] = {
    "defaults": None,
    "free": {"scaleUp": FREE, "scaleDown": FREE},
    "down-window": {"scaleUp": FREE, "scaleDown": rules(31, policy("Percent", 100, 15))},
    "up-window": {"scaleUp": rules(13, policy("Pods", 100, 15)), "scaleDown": FREE},
    "both-windows": {
        "scaleUp": rules(7, policy("Percent", 100, 15)),
        "scaleDown": rules(21, policy("Percent", 100, 15)),
    },
    "pods-up": {"scaleUp": rules(0, policy("Pods", 2, 11)), "scaleDown": FREE},
    "percent-up": {"scaleUp": rules(0, policy("Percent", 50, 11)), "scaleDown": FREE},
    "percent-down": {"scaleUp": FREE, "scaleDown": rules(0, policy("Percent", 20, 13))},
    "pods-down": {"scaleUp": FREE, "scaleDown": rules(0, policy("Pods", 1, 9))},
    "largest-of-two": {
        "scaleUp": rules(0, policy("Pods", 1, 9), policy("Percent", 100, 17)),
        "scaleDown": rules(0, policy("Pods", 2, 15), policy("Percent", 10, 15)),
    },
    "least-of-two": {
        "scaleUp": rules(0, policy("Pods", 3, 9), policy("Percent", 50, 17), select="Min"),
        "scaleDown": rules(0, policy("Pods", 4, 15), policy("Percent", 30, 15), select="Min"),
    },
    "down-disabled": {
        "scaleUp": FREE,
        "scaleDown": rules(0, policy("Pods", 5, 15), select="Disabled"),
    },
    "tolerant": {
        "scaleUp": {**FREE, "tolerance": "300m"},
        "scaleDown": {**FREE, "tolerance": "50m"},
    },
}


@dataclass
class Recorder:
    """The external metrics API, and what it saw of the controller."""

    kube: Kube
    began_s: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    values: dict[str, list[float | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(SEED)
        for name in BEHAVIORS:
            walk = np.exp(np.cumsum(random.normal(0.0, 0.5, 100)))
            values = np.clip(3.0 * walk, 0.0, 30.0).round(3).tolist()
            self.values[name] = [None if random.random() < 0.05 else v for v in values]

    async def answer(self, request: web.Request) -> web.Response:
        if "recorded_" not in request.path:
            return web.json_response(_RESOURCES)
        at_s = time.monotonic() - self.began_s
        name = request.path.rpartition("recorded_")[2]
        value = self.values[name][int(at_s / NEW_VALUE_S)]
        before = await self._scale(name)
        row = {"hpa": name, "at_s": round(at_s, 3), "metric": value, **before}
        task = asyncio.create_task(self._note(name, row))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        if value is None:
            return web.json_response(_UNKNOWN, status=404)
        return web.json_response(_values(name, value))

    async def _note(self, name: str, row: dict[str, Any]) -> None:
        await asyncio.sleep(ACTED_S)
        after = await self._scale(name)
        self.rows.append({**row, "desired": after["spec_replicas"]})

    async def _scale(self, name: str) -> dict[str, int]:
        path = path_of("Deployment", name, version="apps/v1", namespace=NAMESPACE)
        found = await self.kube.get(f"{path}/scale")
        return {
            "spec_replicas": found["spec"].get("replicas", 0),
            "status_replicas": found["status"].get("replicas", 0),
        }


_VERSION = "external.metrics.k8s.io/v1beta1"
_RESOURCES = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": _VERSION}
_RESOURCES["resources"] = []  # type: ignore[assignment]
_UNKNOWN = {
    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "message": "none now",
}  # fmt: skip


def _values(name: str, value: float) -> dict[str, Any]:
    item = {
        "metricName": f"recorded_{name}",
        "metricLabels": {},
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "value": f"{round(value * 1000)}m",
    }
    return {
        "kind": "ExternalMetricValueList",
        "apiVersion": _VERSION,
        "metadata": {},
        "items": [item],
    }


@asynccontextmanager
async def _served(recorder: Recorder, folder: Path) -> AsyncIterator[tuple[int, str]]:
    authority = Authority("recorder")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("recorder").write(folder, "recorder"))
    app = web.Application()
    app.router.add_get("/{path:.*}", recorder.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1], authority.pem.decode()
    finally:
        await runner.cleanup()


async def record(plane: ControlPlane, folder: Path) -> list[dict[str, Any]]:
    """Return the decisions of a few minutes."""
    kube = Kube(plane.url, plane.admin_context)
    recorder = Recorder(kube)
    try:
        async with _served(recorder, folder) as (port, _):
            for namespace in (NAMESPACE, "wva-system"):
                await create_namespace(kube, namespace)
            await kube.apply(external_name(port=port))
            service = api_service(port=port, ca_bundle="")
            del service["spec"]["caBundle"]
            service["spec"]["insecureSkipTLSVerify"] = True
            await kube.apply(service)
            recorder.began_s = time.monotonic()
            for name, behavior in BEHAVIORS.items():
                await kube.apply(deployment(name, namespace=NAMESPACE))
                follower = hpa(
                    name,
                    namespace=NAMESPACE,
                    least=2,
                    most=24,
                    metric=f"recorded_{name}",
                    behavior=behavior or {},
                )
                if behavior is None:
                    del follower["spec"]["behavior"]
                await kube.apply(follower)
            await asyncio.sleep(DURATION_S)
            await asyncio.gather(*recorder.tasks)
        return sorted(recorder.rows, key=lambda row: (row["hpa"], row["at_s"]))
    finally:
        await kube.close()


def main() -> None:
    try:
        programs = assets()
    except MissingProgramsError as exc:
        sys.exit(str(exc))
    with tempfile.TemporaryDirectory() as name:
        plane = ControlPlane(programs, Path(name))
        try:
            plane.start()
            rows = asyncio.run(record(plane, Path(name)))
        finally:
            plane.stop()
    lines = ",\n".join(json.dumps(row) for row in rows)
    behaviors = json.dumps(BEHAVIORS, indent=1)
    TABLE.write_text(
        f'{{"min": 2, "max": 24, "sync_s": {SYNC_S},\n"behaviors": {behaviors},\n"rows": [\n{lines}\n]}}\n',
        encoding="utf-8",
    )
    print(f"{len(rows)} decisions of {len(BEHAVIORS)} HPAs in {TABLE}")


if __name__ == "__main__":
    main()
