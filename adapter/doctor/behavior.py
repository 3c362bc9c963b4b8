"""What in the behavior of an HPA delays, limits or swallows a decision."""

from collections.abc import Iterator, Mapping

from .evidence import Evidence, Object, dig, name_of
from .findings import Finding, warn
from .followers import patch_command

__all__ = ["check_behavior", "minor_of"]

TOLERANCE_MINOR = 35  # on by default; from 33 behind a gate


def check_behavior(
    content: Object, behavior: Object, minor: int | None, check: str, path: str
) -> Iterator[Finding]:
    """Yield what in a behavior delays, limits or swallows a decision."""
    up, down = dig(behavior, "scaleUp", default={}), dig(behavior, "scaleDown", default={})
    if not dig(up, "policies"):
        yield warn(
            check,
            name_of(content),
            "no scaleUp policy: by default a count at most doubles every 15 s",
            "behavior as in manifests/examples/hpa.yaml",
        )
    for name, rules in (("scaleUp", up), ("scaleDown", down)):
        if rules.get("selectPolicy") == "Disabled":
            message = f"{name} has selectPolicy Disabled: no decision in that direction is followed"
            change = {"op": "replace", "path": f"{path}/{name}/selectPolicy", "value": "Max"}
            yield warn(check, name_of(content), message, patch_command(check, content, change))
    window_s = down.get("stabilizationWindowSeconds", 300)
    if window_s > 0:
        yield warn(
            check,
            name_of(content),
            f"HPA waits {window_s} s more before it goes down; the adapter has waited already",
            "behavior as in manifests/examples/hpa.yaml",
        )
    yield from _tolerance(content, up, minor, check, path)


def _tolerance(
    content: Object, up: Object, minor: int | None, check: str, path: str
) -> Iterator[Finding]:
    if minor is None or minor < TOLERANCE_MINOR or float(up.get("tolerance", 0.1)) == 0:
        return
    yield warn(
        check,
        name_of(content),
        f"tolerance {up.get('tolerance', '0.1')}: changes within it are ignored, so the adapter "
        "asks for more than is needed",
        "components: [manifests/components/tolerance]"
        if not up
        else patch_command(
            check, content, {"op": "add", "path": f"{path}/scaleUp/tolerance", "value": "0"}
        ),
    )


def minor_of(seen: Evidence) -> int | None:
    """Return the minor version of Kubernetes, None if it isn't known."""
    if not isinstance(seen.version, Mapping):
        return None
    digits = "".join(c for c in str(seen.version.get("minor", "")) if c.isdigit())
    return int(digits) if digits else None
