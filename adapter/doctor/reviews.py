"""Who may do what, asked of the API server: reviews change nothing."""

import asyncio
from typing import Any

from ..errors import KubeError
from ..kube.transport import KubeTransport
from .evidence import ADAPTER, Evidence, Right, dig
from .rights import AUTOSCALER, YOU, Need, needs

__all__ = ["review_rights"]

_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_OWN_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
AT_ONCE = 8

# What `make install` creates that not everybody may.
INSTALLING = (
    Need("rbac.authorization.k8s.io", "clusterroles", ("create",), "make install fails"),
    Need("rbac.authorization.k8s.io", "clusterrolebindings", ("create",), "make install fails"),
    Need("apiextensions.k8s.io", "customresourcedefinitions", ("create",), "make install fails"),
    Need("apps", "deployments", ("create",), "make install fails", "own"),
)


async def review_rights(transport: KubeTransport, seen: Evidence) -> tuple[Right, ...]:
    """Return the rights of the adapter's account; before there is one, those to install it."""
    places = asyncio.Semaphore(AT_ONCE)

    async def ask(need: Need, verb: str, who: str) -> Right:
        async with places:
            return await _review(transport, need, verb, who, seen.namespace)

    if seen.deployment is None:
        asked = [(need, verb, YOU) for need in INSTALLING for verb in need.verbs]
    else:
        account = f"system:serviceaccount:{seen.namespace}:{ADAPTER}"
        ours = dig(seen.api_service, "spec", "service", "namespace") == seen.namespace
        free = seen.api_service is None
        wanted = needs(api_service=ours or free)
        asked = [(need, verb, account) for need in wanted for verb in need.verbs]
        metric = Need("external.metrics.k8s.io", "wva_desired_replicas", (), "HPA reads nothing")
        asked.append((metric, "list", AUTOSCALER))
    return tuple(await asyncio.gather(*(ask(*one) for one in asked)))


async def _review(
    transport: KubeTransport, need: Need, verb: str, who: str, own_namespace: str
) -> Right:
    namespace = own_namespace if need.where == "own" else ""
    resource, _, subresource = need.resource.partition("/")
    attributes = {"group": need.group, "resource": resource, "verb": verb, "namespace": namespace}
    if subresource:
        attributes["subresource"] = subresource
    spec: dict[str, Any] = {"resourceAttributes": attributes}
    if who != YOU:
        spec |= {"user": who, "groups": _groups(who)}
    own = who == YOU
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview" if own else "SubjectAccessReview",
        "spec": spec,
    }
    allowed: bool | None = None
    why = ""
    try:
        answer = await transport.call("POST", _OWN_REVIEWS if own else _REVIEWS, body=body)
        allowed = dig(answer.document, "status", "allowed", default=False) is True
    except KubeError as exc:
        why = str(exc)
    name = f"{need.resource}.{need.group}" if need.group else need.resource
    return Right(who, verb, name, need.needed_for, allowed, namespace, why)


def _groups(who: str) -> list[str]:
    """Return the groups that the API server gives a service account."""
    _, _, namespace, _ = who.split(":")
    return ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
