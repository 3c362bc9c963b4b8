"""One adapter at a constant decision, for all the scenarios of a module that only read."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from tests.helpers.pki import Credential

from .cluster import ControlPlane
from .engines import variant
from .kube_api import Kube, Kubectl
from .stage import Stage, World, new_namespace, staged

__all__ = ["front_proxy", "resting", "with_certificate"]


@contextlib.asynccontextmanager
async def resting(plane: ControlPlane, folder: Path, *, replicas: int = 3) -> AsyncIterator[Stage]:
    """Put up one variant without load whose lower bound is its count."""
    kube = Kube(plane.url, plane.admin_context)
    kubectl = Kubectl(plane.programs / "kubectl", plane.admin_kubeconfig, folder)
    chat = variant("chat", namespace=new_namespace())
    world = World(plane, kube, kubectl, folder)
    async with staged(world, [chat], replicas=replicas, least=replicas) as stage:
        await stage.replicas("chat", replicas)
        await stage.decision("chat", replicas)
        yield stage
    await kube.close()


def front_proxy(stage: Stage) -> ssl.SSLContext:
    """Return a context with the API server's own certificate for the adapter."""
    context = stage.adapter.context()
    pki = stage.world.plane.authorities.path
    context.load_cert_chain(pki("front-proxy-client.crt"), pki("front-proxy-client.key"))
    return context


def with_certificate(stage: Stage, credential: Credential | None) -> ssl.SSLContext:
    """Return a context for the adapter's port with a client certificate, or with none."""
    context = stage.adapter.context()
    if credential is not None:
        credential.load_into(context, stage.world.folder)
    return context
