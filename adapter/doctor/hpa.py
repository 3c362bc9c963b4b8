"""Does an HPA do what the adapter decides? What it says itself comes last, in its words."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from .behavior import check_behavior, minor_of
from .evidence import Evidence, Object, Unread, condition, dig, name_of
from .findings import Finding, fail, ok, skip, warn
from .followers import is_declared, made_by_keda, metrics_of_ours, patch_command, target_of

__all__ = ["check_hpas"]

TARGET = {"type": "AverageValue", "averageValue": "1"}


def check_hpas(seen: Evidence) -> Iterator[Finding]:
    """Yield findings on every HPA that has our metric or declares a variant."""
    if isinstance(seen.hpas, Unread):
        yield skip("hpa", "all", seen.hpas.reason)
        return
    hpas = [hpa for hpa in seen.hpas if not made_by_keda(hpa)]
    sharing = Counter(target_of(hpa) for hpa in hpas)
    for hpa in hpas:
        if metrics_of_ours(hpa) or is_declared(hpa):
            found = list(_check(hpa, seen))
            if sharing[target_of(hpa)] > 1:
                found.append(_shared(hpa))
            yield from found or [ok("hpa", name_of(hpa), "follows the decision as it is")]


def _check(hpa: Object, seen: Evidence) -> Iterator[Finding]:
    ours = metrics_of_ours(hpa)
    if not ours:
        yield _follows_nothing(hpa)
    for place, metric in ours:
        yield from _metric(hpa, place, metric)
    yield from _bounds(hpa)
    behavior = dig(hpa, "spec", "behavior", default={})
    yield from check_behavior(hpa, behavior, minor_of(seen), "hpa", "/spec/behavior")
    yield from _status(hpa)


def _metric(hpa: Object, place: int, metric: Object) -> Iterator[Finding]:
    target = dig(metric, "target", default={})
    name = dig(metric, "metric", "name", default="")
    if name != "wva_desired_ratio" and not _is_one_each(target):
        given = target.get("averageValue") or target.get("value")
        change = {"op": "replace", "path": f"/spec/metrics/{place}/external/target"}
        yield fail(
            "hpa",
            name_of(hpa),
            f"{name} has target {target.get('type')} {given}: HPA would multiply the decision",
            patch_command("hpa", hpa, {**change, "value": TARGET}),
        )
    yield from _selector(hpa, place, metric)


def _is_one_each(target: Mapping[str, Any]) -> bool:
    value = str(target.get("averageValue", ""))
    return target.get("type") == "AverageValue" and value in {"1", "1000m"}


def _selector(hpa: Object, place: int, metric: Object) -> Iterator[Finding]:
    labels = dig(metric, "metric", "selector", "matchLabels", default={})
    expressions = dig(metric, "metric", "selector", "matchExpressions", default=())
    if not labels and not expressions:
        path = f"/spec/metrics/{place}/external/metric/selector"
        value = {"matchLabels": {"variant_name": dig(hpa, "metadata", "name")}}
        yield fail(
            "hpa",
            name_of(hpa),
            "no selector: HPA adds up the decisions on all variants of the namespace",
            patch_command("hpa", hpa, {"op": "add", "path": path, "value": value}),
        )
    namespace = dig(hpa, "metadata", "namespace")
    for label in ("namespace", "exported_namespace"):
        if labels.get(label, namespace) != namespace:
            path = f"/spec/metrics/{place}/external/metric/selector/matchLabels/{label}"
            yield fail(
                "hpa",
                name_of(hpa),
                f"selects {label} {labels[label]}, but HPA asks in its own namespace alone",
                patch_command("hpa", hpa, {"op": "replace", "path": path, "value": namespace}),
            )


def _bounds(hpa: Object) -> Iterator[Finding]:
    least = dig(hpa, "spec", "minReplicas", default=1)
    most = dig(hpa, "spec", "maxReplicas", default=1)
    if least >= most:
        yield warn(
            "hpa",
            name_of(hpa),
            f"minReplicas {least} and maxReplicas {most} leave nothing to decide",
            patch_command(
                "hpa", hpa, {"op": "replace", "path": "/spec/maxReplicas", "value": least + 1}
            ),
        )


def _status(hpa: Object) -> Iterator[Finding]:
    """Yield what the HPA itself says is wrong, in its words."""
    describe = "kubectl -n {} describe hpa {}".format(*name_of(hpa).split("/"))
    for kind in ("AbleToScale", "ScalingActive"):
        found = condition(hpa, kind)
        if found.get("status") == "False":
            words = f"{kind} False, {found.get('reason')}: {found.get('message')}"
            yield fail("hpa", name_of(hpa), words, describe)
    limited = condition(hpa, "ScalingLimited")
    if limited.get("status") == "True" and limited.get("reason") == "TooManyReplicas":
        most = dig(hpa, "spec", "maxReplicas")
        yield warn(
            "hpa",
            name_of(hpa),
            f"more than maxReplicas {most} are needed",
            patch_command(
                "hpa", hpa, {"op": "replace", "path": "/spec/maxReplicas", "value": 2 * most}
            ),
        )


def _follows_nothing(hpa: Object) -> Finding:
    metric = {
        "type": "External",
        "external": {
            "metric": {
                "name": "wva_desired_replicas",
                "selector": {"matchLabels": {"variant_name": dig(hpa, "metadata", "name")}},
            },
            "target": TARGET,
        },
    }
    return fail(
        "hpa",
        name_of(hpa),
        "declares a variant, and has no metric of ours: the decision has no effect",
        patch_command("hpa", hpa, {"op": "add", "path": "/spec/metrics/-", "value": metric}),
    )


def _shared(hpa: Object) -> Finding:
    _, kind, target = target_of(hpa)
    return fail(
        "hpa",
        name_of(hpa),
        f"another HPA scales {kind} {target}, too: they work against each other",
        "kubectl -n {} delete hpa {}, or the other one".format(*name_of(hpa).split("/")),
    )
