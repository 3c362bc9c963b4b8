"""The files of manifests/ and what they render to."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .kustomize import Manifest, render

__all__ = [
    "KUBERNETES",
    "KUSTOMIZATIONS",
    "MANIFESTS",
    "OBJECTS",
    "OVERLAYS",
    "ROOT",
    "WITHOUT_SCHEMA",
    "container",
    "installed",
    "name_of",
    "objects",
    "read",
    "rendered",
    "the",
]

ROOT = Path(__file__).resolve().parent.parent.parent
MANIFESTS = ROOT / "manifests"
KUBERNETES = ("1.29", "1.32", "1.35")
WITHOUT_SCHEMA = {
    "Certificate",
    "CustomResourceDefinition",  # has a schema, which strict checking can't read: it has no end
    "Issuer",
    "PrometheusRule",
    "ScaledObject",
    "ServiceMonitor",
}
NOT_OBJECTS = {"kustomization.yaml", "settings.yaml", "prometheus-adapter-rules.yaml"}
OBJECTS = sorted(p for p in MANIFESTS.rglob("*.yaml") if p.name not in NOT_OBJECTS)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


KUSTOMIZATIONS = sorted(p.parent for p in MANIFESTS.rglob("kustomization.yaml"))
OVERLAYS = [f for f in KUSTOMIZATIONS if read(f / "kustomization.yaml")["kind"] != "Component"]


def name_of(path: Path) -> str:
    return str(path.relative_to(MANIFESTS))


def objects(kind: str) -> Iterator[tuple[str, Any]]:
    """Yield (file, object) for every file that holds an object of this kind."""
    for path in OBJECTS:
        content = read(path)
        if content["kind"] == kind:
            yield name_of(path), content


@functools.cache
def _rendered(folder: Path) -> tuple[Manifest, ...]:
    return tuple(render(folder))


def rendered(name: str) -> list[Manifest]:
    """Return what `kubectl apply -k manifests/NAME` sends."""
    return list(_rendered(MANIFESTS / name))


def installed(kind: str) -> list[Manifest]:
    """Return the objects of a kind in the fullest installation."""
    return [o for o in rendered("overlays/prometheus") if o["kind"] == kind]


def the(kind: str) -> Any:
    (found,) = installed(kind)
    return found


def container() -> Any:
    (only,) = the("Deployment")["spec"]["template"]["spec"]["containers"]
    return only
