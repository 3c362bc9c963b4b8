"""The APIService that leads the cluster to this adapter: made where there is none.

A cluster has one `v1beta1.external.metrics.k8s.io`, and taking it from its owner stops
every ScaledObject or HPA that lives by it. So it is created only where it is absent, and
written only while it leads to our Service; a foreign one is left as it is and named. Its
owner is our ClusterRole: deleting the installation deletes it, and no namespace hangs on
an API that nobody serves any more. caBundle is written by server-side apply under a
manager's name of its own.
"""

import base64
import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import KubeApiError, KubeError
from .transport import APPLY, KubeTransport

__all__ = ["API_SERVICE", "ApiServiceKeeper"]

logger = logging.getLogger(__name__)

API_SERVICE = "v1beta1.external.metrics.k8s.io"
_FOLDER = "/apis/apiregistration.k8s.io/v1/apiservices"
_ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
_MANAGER = "wva-adapter"
# What all adapters of this kind use.
_PRIORITY = 100


class ApiServiceKeeper:
    """Keeps the APIService ours, if it is.

    Parameters
    ----------
    transport : KubeTransport
    service, namespace : str
        The Service that it leads to.
    port : int
        Of the Service.
    cluster_role : str
        The ClusterRole that owns it.
    bundle : callable
        The certificates to trust, PEM; empty: those of the system.

    Attributes
    ----------
    problem : str
        Why the APIService doesn't lead here, "" if it does.
    foreign_owner : str
        Whom it leads to instead, "" if to us or nobody.
    """

    def __init__(
        self,
        transport: KubeTransport,
        *,
        service: str,
        namespace: str,
        cluster_role: str,
        bundle: Callable[[], bytes],
        port: int = 443,
    ) -> None:
        self._transport = transport
        self._service = {"name": service, "namespace": namespace, "port": port}
        self._cluster_role = cluster_role
        self._bundle = bundle
        self.problem = ""
        self.foreign_owner = ""

    async def ensure(self, bundle: bytes | None = None) -> None:
        """Create the APIService or bring it up to date; `problem` says what keeps it from that.

        `bundle` is what clients shall trust from now on, by default what is in force.
        """
        try:
            problem = await self._ensured(self._bundle() if bundle is None else bundle)
        except KubeApiError as exc:
            remedy = f"; the ClusterRole {self._cluster_role} is what allows it"
            problem = f"{exc}{remedy if exc.status in {403, 404} else ''}"
        except KubeError as exc:
            problem = str(exc)
        self._report(problem)

    async def _ensured(self, bundle: bytes) -> str:
        found = await self._read(f"{_FOLDER}/{API_SERVICE}")
        wanted = self._spec(bundle)
        if found is None:
            await self._create(wanted)
            return ""
        spec = found.get("spec") or {}
        self.foreign_owner = self._owner_of(spec)
        if self.foreign_owner:
            return (
                f"the APIService {API_SERVICE} leads to {self.foreign_owner}, whose it stays; HPA "
                "gets nothing from here. Delete it to hand it over, or use KEDA's external "
                "trigger, which needs none"
            )
        if any(spec.get(key) != value for key, value in wanted.items()):
            await self._apply(found, wanted)
        return ""

    async def _create(self, spec: Mapping[str, Any]) -> None:
        """Create it; whoever was faster keeps it, and is looked at the next time."""
        metadata = {"name": API_SERVICE, "labels": {"app.kubernetes.io/name": "wva"}}
        role = await self._read(f"{_ROLES}/{self._cluster_role}")
        if role is None:
            raise KubeApiError(
                404, "NotFound", f"the ClusterRole {self._cluster_role}, to own it, isn't there"
            )
        owner = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "name": self._cluster_role,
            "uid": role["metadata"]["uid"],
        }
        body = self._document({**metadata, "ownerReferences": [owner]}, spec)
        query = {"fieldManager": _MANAGER}
        await self._transport.call("POST", _FOLDER, body=body, query=query)
        self.foreign_owner = ""
        logger.info("created the APIService %s", API_SERVICE)

    async def _apply(self, found: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        # The version makes it fail if somebody took the APIService since it was read.
        version = found.get("metadata", {}).get("resourceVersion")
        body = self._document({"name": API_SERVICE, "resourceVersion": version}, spec)
        query = {"fieldManager": _MANAGER, "force": "true"}
        path = f"{_FOLDER}/{API_SERVICE}"
        await self._transport.call("PATCH", path, body=body, query=query, content_type=APPLY)
        logger.info("brought the APIService %s up to date", API_SERVICE)

    def _document(self, metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": metadata,
            "spec": spec,
        }

    def _spec(self, bundle: bytes) -> dict[str, Any]:
        version, _, group = API_SERVICE.partition(".")
        spec = {
            "group": group,
            "version": version,
            "service": self._service,
            "groupPriorityMinimum": _PRIORITY,
            "versionPriority": _PRIORITY,
        }
        if bundle:
            spec["caBundle"] = base64.b64encode(bundle).decode("ascii")
        return spec

    def _owner_of(self, spec: Mapping[str, Any]) -> str:
        """Return whom the APIService leads to if that isn't us."""
        service = spec.get("service") or {}
        ours = (self._service["name"], self._service["namespace"])
        if (service.get("name"), service.get("namespace")) == ours:
            return ""
        if not service:
            return "the API server itself"
        return f"Service {service.get('namespace')}/{service.get('name')}"

    async def _read(self, path: str) -> Mapping[str, Any] | None:
        try:
            return (await self._transport.call("GET", path)).document
        except KubeApiError as exc:
            if exc.status == 404:
                return None
            raise

    def _report(self, problem: str) -> None:
        if problem and problem != self.problem:
            # Somebody else's is no fault: whoever uses KEDA wants it so.
            logger.warning("%s", problem)
        self.problem = problem
