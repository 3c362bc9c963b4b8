"""Is there something to scale, can the adapter see it, and do requests end when a pod goes?"""

import json
from collections.abc import Iterator

from .evidence import Evidence, Object, Unread, dig, name_of
from .findings import Finding, fail, ok, skip, warn
from .followers import (
    is_declared,
    made_by_keda,
    metrics_of_ours,
    target_of,
    triggers_of_ours,
    variant_of,
)

__all__ = ["check_variants", "followers"]


def followers(seen: Evidence) -> Iterator[Object]:
    """Yield the HPAs and ScaledObjects that follow a variant or declare one."""
    if not isinstance(seen.hpas, Unread):
        for hpa in seen.hpas:
            if (metrics_of_ours(hpa) or is_declared(hpa)) and not made_by_keda(hpa):
                yield hpa
    if not isinstance(seen.scaled_objects, Unread):
        for scaled in seen.scaled_objects:
            if triggers_of_ours(scaled) or is_declared(scaled):
                yield scaled


def check_variants(seen: Evidence) -> Iterator[Finding]:
    """Yield findings on every variant that something follows."""
    found = list(followers(seen))
    if not found:
        yield skip(
            "variant",
            "all",
            "no HPA and no ScaledObject follows a decision",
            "kubectl apply -f manifests/examples/hpa.yaml, with your names",
        )
    for follower in found:
        namespace, name = target_of(follower)[0], variant_of(follower)
        variant, explanation = f"{namespace}/{name}", seen.explanations.get((namespace, name))
        yield from _target(follower, variant, seen, explanation)
        yield _signals(variant, explanation, seen)
        yield from _identity(variant, explanation)


def _target(
    follower: Object, variant: str, seen: Evidence, explanation: object
) -> Iterator[Finding]:
    namespace, kind, name = target = target_of(follower)
    found = seen.targets.get(target)
    if isinstance(found, Unread):
        yield skip("target", variant, found.reason)
        return
    if found is None:
        yield fail(
            "target",
            variant,
            f"{name_of(follower)} scales {kind} {name}, which isn't there",
            f"kubectl -n {namespace} get {kind.lower()}",
        )
        return
    yield ok("target", variant, f"{kind} {name} is there")
    yield _grace(variant, found, explanation, target)


def _grace(
    variant: str, found: Object, explanation: object, target: tuple[str, str, str]
) -> Finding:
    """Compare how long a pod may take to end with how long its requests take."""
    pod = dig(found, "spec", "template", "spec")
    if pod is None:  # a LeaderWorkerSet has two templates, a kind of somebody's own any number
        return skip("grace", variant, f"{target[1]} has no single pod template")
    grace_s = pod.get("terminationGracePeriodSeconds", 30)
    request_s = _request_s(explanation)
    if request_s is None:
        return skip(
            "grace", variant, f"pods have {grace_s} s to end; how long requests take isn't known"
        )
    if request_s <= grace_s:
        return ok(
            "grace", variant, f"pods have {grace_s} s to end, requests take about {request_s:.0f} s"
        )
    namespace, kind, name = target
    longer = {"terminationGracePeriodSeconds": round(2 * request_s)}
    patch = json.dumps({"spec": {"template": {"spec": longer}}})
    return warn(
        "grace",
        variant,
        f"pods have {grace_s} s to end, requests take about {request_s:.0f} s and are cut",
        f"kubectl -n {namespace} patch {kind.lower()} {name} -p '{patch}'",
    )


def _request_s(explanation: object) -> float | None:
    """Return about how long a slow request takes: first token, and the others after it."""
    parts = (
        dig(explanation, "measured", "ttft_p95_s", "value"),
        dig(explanation, "measured", "itl_p95_s", "value"),
        dig(explanation, "inputs", "output_tokens_mean", "value"),
    )
    if any(part is None for part in parts):
        return None
    ttft_s, itl_s, tokens = map(float, parts)
    return ttft_s + itl_s * tokens


def _signals(variant: str, explanation: object, seen: Evidence) -> Finding:
    path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/explanations/{}?format=text"
    remedy = f"kubectl get --raw '{path.format(*variant.split('/'))}'"
    if isinstance(explanation, Unread):
        return skip("signals", variant, explanation.reason, remedy)
    if explanation is None:
        return _unknown(variant, seen)
    missing = str(dig(explanation, "message", default=""))
    match dig(explanation, "freshness", "state"):
        case "refused":
            return fail("signals", variant, f"refused: {missing or 'nothing was read'}", remedy)
        case "held":
            return warn("signals", variant, f"held, rises and doesn't fall: {missing}", remedy)
    if missing:
        return warn("signals", variant, f"fresh, and not complete: {missing}", remedy)
    ready = dig(explanation, "inputs", "ready_replicas", "value", default=0)
    return ok("signals", variant, f"fresh, from {ready:g} ready replicas")


def _unknown(variant: str, seen: Evidence) -> Finding:
    if seen.deployment is None or isinstance(seen.deployment, Unread):
        return skip("signals", variant, "no adapter to ask")
    return fail(
        "signals",
        variant,
        "the adapter doesn't know this variant",
        f"kubectl -n {seen.namespace} logs deployment/wva; the annotations llm-d.ai/managed and "
        "llm-d.ai/model-id declare one",
    )


def _identity(variant: str, explanation: object) -> Iterator[Finding]:
    """Yield labels without which costs and targets can't be told."""
    if not isinstance(explanation, dict):
        return
    labels = dig(explanation, "labels", default={})
    if labels.get("accelerator_type", "unknown") in {"", "unknown"}:
        yield warn(
            "labels",
            variant,
            "the accelerator isn't known: it is compared with no other by cost",
            "annotation wva.llm-d.ai/accelerator on the HPA or ScaledObject",
        )
    if labels.get("service_class", "") in {"", "default"}:
        yield warn(
            "labels",
            variant,
            "no service class: sized by saturation headroom, not by a latency target",
            "annotation wva.llm-d.ai/service-class, and service_classes in the settings",
        )
