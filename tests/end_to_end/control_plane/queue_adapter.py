"""What stock prometheus-adapter serves for the backstop: waiting requests, per pod.

It has custom.metrics.k8s.io as prometheus-adapter would with the rule of
manifests/examples/prometheus-adapter-rules.yaml, and reads the engines' own pages.
"""

import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from tests.helpers.pki import SERVER, TestAuthority

from .daemons import free_port
from .kube_api import path_of
from .objects import external_name
from .stage import Stage

__all__ = ["QUEUE", "serving_queues"]

QUEUE = "vllm_num_requests_waiting"
GROUP = "custom.metrics.k8s.io"
VERSION = f"{GROUP}/v1beta1"
API_SERVICE = f"v1beta1.{GROUP}"
RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": VERSION,
    "resources": [
        {
            "name": f"pods/{QUEUE}",
            "singularName": "",
            "namespaced": True,
            "kind": "MetricValueList",
            "verbs": ["get"],
        }
    ],
}


@contextlib.asynccontextmanager
async def serving_queues(stage: Stage) -> AsyncIterator[None]:
    """Serve the waiting requests of the stage's engines until the scenario ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = TestAuthority("queues").issue("queues", uses=(SERVER,), hosts=("localhost",))
    issued.load_into(context, stage.world.folder)

    async def resources(_: web.Request) -> web.Response:
        return web.json_response(RESOURCES)

    async def values(request: web.Request) -> web.Response:
        wanted = request.query.get("labelSelector", "").partition("=")[2]
        return web.json_response(_values(stage, wanted))

    app = web.Application()
    app.router.add_get(f"/apis/{VERSION}", resources)
    app.router.add_get(f"/apis/{VERSION}/namespaces/{{namespace}}/pods/*/{QUEUE}", values)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    kube = stage.kube
    path = path_of("APIService", API_SERVICE, version="apiregistration.k8s.io/v1")
    try:
        await kube.apply(external_name("queues", namespace="default", port=port))
        await kube.apply(_api_service(port))
        yield
    finally:
        await kube.delete(path)
        await kube.delete(path_of("Service", "queues", namespace="default"))
        await runner.cleanup()


def _values(stage: Stage, variant: str) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    items = [
        {
            "describedObject": {
                "kind": "Pod",
                "namespace": stage.namespace,
                "name": name,
                "apiVersion": "/v1",
            },
            "metricName": QUEUE,
            "timestamp": now,
            "value": str(waiting),
        }
        for name, waiting in stage.engines.waiting(variant).items()
    ]
    return {"kind": "MetricValueList", "apiVersion": VERSION, "metadata": {}, "items": items}


def _api_service(port: int) -> dict[str, Any]:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API_SERVICE},
        "spec": {
            "group": GROUP,
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"name": "queues", "namespace": "default", "port": port},
            "insecureSkipTLSVerify": True,
        },
    }
