"""Does a ScaledObject do what the adapter decides, and what does it do without us?"""

from collections.abc import Iterator

from .behavior import check_behavior, minor_of
from .evidence import Evidence, Object, Unread, condition, dig, name_of
from .findings import Finding, fail, ok, skip, warn
from .followers import is_declared, patch_command, triggers_of_ours

__all__ = ["check_scaled_objects"]

KIND = "scaledobject"
RAISES_ONLY = {"currentReplicas", "currentReplicasIfHigher"}
PAUSES = ("autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas")
BEHAVIOR = ("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior")


def check_scaled_objects(seen: Evidence) -> Iterator[Finding]:
    """Yield findings on every ScaledObject that leads to us or declares a variant."""
    if isinstance(seen.scaled_objects, Unread):
        yield skip(KIND, "all", seen.scaled_objects.reason)
        return
    for scaled in seen.scaled_objects:
        if triggers_of_ours(scaled) or is_declared(scaled):
            found = list(_check(scaled, seen))
            yield from found or [ok(KIND, name_of(scaled), "follows the decision as it is")]


def _check(scaled: Object, seen: Evidence) -> Iterator[Finding]:
    triggers = triggers_of_ours(scaled)
    if not triggers:
        yield fail(
            KIND,
            name_of(scaled),
            "declares a variant, and no trigger leads to us: the decision has no effect",
            "trigger as in manifests/examples/scaled-object.yaml",
        )
    for place, trigger in triggers:
        yield from _trigger(scaled, place, trigger, seen)
    yield from _fallback(scaled)
    yield from check_behavior(
        scaled, dig(scaled, *BEHAVIOR, default={}), minor_of(seen), KIND, "/" + "/".join(BEHAVIOR)
    )
    yield from _paused(scaled)
    yield from _status(scaled)


def _trigger(scaled: Object, place: int, trigger: Object, seen: Evidence) -> Iterator[Finding]:
    if trigger.get("metricType", "AverageValue") != "AverageValue":
        path = f"/spec/triggers/{place}/metricType"
        yield fail(
            KIND,
            name_of(scaled),
            f"metricType {trigger['metricType']}: HPA would multiply the decision",
            patch_command(KIND, scaled, {"op": "replace", "path": path, "value": "AverageValue"}),
        )
    if trigger.get("type") == "prometheus":
        yield from _prometheus(scaled, place, trigger)
        return
    address = str(dig(trigger, "metadata", "scalerAddress", default=""))
    if f".{seen.namespace}" not in address:
        yield warn(
            KIND,
            name_of(scaled),
            f"scalerAddress {address or '(none)'} isn't in {seen.namespace}, where the adapter is",
            f"scalerAddress: wva.{seen.namespace}.svc:6000",
        )
    if dig(scaled, "spec", "minReplicaCount", default=0) == 0 and trigger["type"] == "external":
        path = f"/spec/triggers/{place}/type"
        yield warn(
            KIND,
            name_of(scaled),
            "rests at zero and is woken by polling alone, after pollingInterval "
            f"({dig(scaled, 'spec', 'pollingInterval', default=30)} s)",
            patch_command(KIND, scaled, {"op": "replace", "path": path, "value": "external-push"}),
        )


def _prometheus(scaled: Object, place: int, trigger: Object) -> Iterator[Finding]:
    if dig(trigger, "metadata", "ignoreNullValues", default="true") == "true":
        path = f"/spec/triggers/{place}/metadata/ignoreNullValues"
        yield warn(
            KIND,
            name_of(scaled),
            "ignoreNullValues is true: a Prometheus without the series reads as 0, and scales down",
            patch_command(KIND, scaled, {"op": "add", "path": path, "value": "false"}),
        )


def _fallback(scaled: Object) -> Iterator[Finding]:
    """Yield whether KEDA turns our silence into fewer replicas."""
    fallback = dig(scaled, "spec", "fallback")
    if fallback is None:
        return
    behavior = fallback.get("behavior", "static")
    if behavior in RAISES_ONLY and fallback.get("replicas", 0) > 0:
        return
    path, value = "/spec/fallback/behavior", "currentReplicasIfHigher"
    change: dict[str, object] = {"op": "add", "path": path, "value": value}
    message = (
        f"fallback {behavior} to {fallback.get('replicas')} can lower replicas when we are silent"
    )
    if fallback.get("replicas") == 0:
        message = "fallback to 0 replicas sends the workload to sleep when we are silent"
        change = {"op": "replace", "path": "/spec/fallback/replicas", "value": 1}
    yield warn(KIND, name_of(scaled), message, patch_command(KIND, scaled, change))


def _paused(scaled: Object) -> Iterator[Finding]:
    annotations = dig(scaled, "metadata", "annotations", default={})
    for annotation in PAUSES:
        if annotation in annotations and annotations[annotation] != "false":
            namespace, name = name_of(scaled).split("/")
            yield warn(
                KIND,
                name_of(scaled),
                f"paused by {annotation}",
                f"kubectl -n {namespace} annotate {KIND} {name} {annotation}-",
            )


def _status(scaled: Object) -> Iterator[Finding]:
    describe = "kubectl -n {} describe scaledobject {}".format(*name_of(scaled).split("/"))
    ready, fallback = condition(scaled, "Ready"), condition(scaled, "Fallback")
    if ready.get("status") == "False":
        words = f"Ready False, {ready.get('reason')}: {ready.get('message')}"
        yield fail(KIND, name_of(scaled), words, describe)
    if fallback.get("status") == "True":
        yield fail(KIND, name_of(scaled), "KEDA couldn't ask and serves its fallback", describe)
