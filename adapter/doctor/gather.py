"""One look at a cluster, by reading alone. What can't be read is said, not guessed."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

from ..errors import KubeApiError, KubeError
from ..kube.transport import KubeTransport
from .evidence import ADAPTER, API_SERVICE, Evidence, Object, Seen, SeenList, Target, Unread, dig
from .followers import target_of, variant_of
from .pages import explanations_of
from .reviews import review_rights
from .variants import followers

__all__ = ["gather"]

AT_ONCE = 8
PAGE = "500"
HEALTH_PORT = 8080  # of the container, in our manifests
EXTERNAL_METRICS = "/apis/external.metrics.k8s.io/v1beta1"
GROUPS = {  # of kinds that a reference may name without an apiVersion
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "LeaderWorkerSet": "leaderworkerset.x-k8s.io/v1",
}


async def gather(transport: KubeTransport, namespace: str, *, now_unix_s: float) -> Evidence:
    """Read what the checks need.

    Raises
    ------
    KubeUnavailableError
        If the API server can't be reached at all.
    """
    answer = await transport.call("GET", "/version")
    server_unix_s = _date(answer.headers)
    look = _Look(transport)
    own = f"/namespaces/{namespace}"
    api_service, deployment, lease, pods, hpas, scaled = await asyncio.gather(
        look.one(f"/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}"),
        look.one(f"/apis/apps/v1{own}/deployments/{ADAPTER}"),
        look.one(f"/apis/coordination.k8s.io/v1{own}/leases/{ADAPTER}"),
        look.all(f"/api/v1{own}/pods", labelSelector=f"app.kubernetes.io/name={ADAPTER}"),
        look.all("/apis/autoscaling/v2/horizontalpodautoscalers"),
        look.all("/apis/keda.sh/v1alpha1/scaledobjects"),
    )
    seen = Evidence(
        namespace=namespace,
        version=answer.document,
        api_service=api_service,
        deployment=deployment,
        lease=lease,
        pods=() if pods is None else pods,
        hpas=() if hpas is None else hpas,
        scaled_objects=() if scaled is None else scaled,
        keda=scaled is not None,
        clock_ahead_s=None if server_unix_s is None else now_unix_s - server_unix_s,
        server_unix_s=server_unix_s,
    )
    targets, explanations, rights = await asyncio.gather(
        look.targets(seen), look.explanations(seen), review_rights(transport, seen)
    )
    return replace(seen, targets=targets, explanations=explanations, rights=rights)


class _Look:
    """Reads with a bound on how many requests are under way."""

    def __init__(self, transport: KubeTransport) -> None:
        self._transport = transport
        self._places = asyncio.Semaphore(AT_ONCE)

    async def one(self, path: str, **query: str) -> Seen:
        try:
            async with self._places:
                return (await self._transport.call("GET", path, query=query)).document
        except KubeApiError as exc:
            return None if exc.status == 404 else Unread(str(exc))
        except KubeError as exc:
            return Unread(str(exc))

    async def all(self, path: str, **query: str) -> SeenList | None:
        """Return the items of a list, page by page; None if there is no such kind."""
        items: list[Object] = []
        while True:
            page = await self.one(path, limit=PAGE, **query)
            if page is None or isinstance(page, Unread):
                return page
            items += dig(page, "items", default=())
            query["continue"] = dig(page, "metadata", "continue", default="")
            if not query["continue"]:
                return tuple(items)

    async def targets(self, seen: Evidence) -> Mapping[Target, Seen]:
        wanted = {target_of(follower): _version(follower) for follower in followers(seen)}
        found = await asyncio.gather(
            *(self._target(version, target) for target, version in wanted.items())
        )
        return dict(zip(wanted, found, strict=True))

    async def _target(self, version: str, target: Target) -> Seen:
        """Return a scale target; what a kind is called in paths is the API's to say."""
        namespace, kind, name = target
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural = f"{kind.lower()}s"
        if kind not in GROUPS:
            known = await self.one(root)
            if known is None or isinstance(known, Unread):
                return known
            names = (
                each["name"]
                for each in dig(known, "resources", default=())
                if each.get("kind") == kind and "/" not in each["name"]
            )
            plural = next(names, plural)
        return await self.one(f"{root}/namespaces/{namespace}/{plural}/{name}")

    async def explanations(self, seen: Evidence) -> Mapping[tuple[str, str], Seen]:
        variants = sorted({(_namespace(one), variant_of(one)) for one in followers(seen)})
        owner = dig(seen.api_service, "spec", "service", default={})
        if seen.deployment is not None and owner.get("namespace") != seen.namespace:
            return await self._from_pods(seen, variants)
        if seen.deployment is None and not owner:
            return dict.fromkeys(variants)
        paths = [f"{EXTERNAL_METRICS}/namespaces/{ns}/explanations/{name}" for ns, name in variants]
        found = await asyncio.gather(*map(self.one, paths))
        return dict(zip(variants, found, strict=True))

    async def _from_pods(
        self, seen: Evidence, variants: list[tuple[str, str]]
    ) -> Mapping[tuple[str, str], Seen]:
        """Return what the pods' own pages say, through the API server's proxy.

        That is where an adapter is asked which the API server doesn't lead to, in KEDA's way.
        """
        told: dict[tuple[str, str], Object] = {}
        pods = () if isinstance(seen.pods, Unread) else seen.pods
        reason = "" if pods else "no pod of the adapter is there to ask"
        for pod in pods:
            name = dig(pod, "metadata", "name")
            path = f"/api/v1/namespaces/{seen.namespace}/pods/{name}:{HEALTH_PORT}/proxy/metrics"
            try:
                async with self._places:
                    told |= explanations_of(await self._transport.text(path))
            except (KubeError, ValueError) as exc:
                reason = f"a pod's metrics can't be read: {exc}"
        absent = Unread(reason) if reason else None
        return {variant: told.get(variant, absent) for variant in variants}


def _namespace(content: Object) -> str:
    return str(dig(content, "metadata", "namespace"))


def _version(follower: Object) -> str:
    reference: Mapping[str, Any] = dig(follower, "spec", "scaleTargetRef", default={})
    kind = str(reference.get("kind", "Deployment"))
    return str(reference.get("apiVersion") or GROUPS.get(kind, "apps/v1"))


def _date(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Date")
    return parsedate_to_datetime(text).timestamp() if text else None
