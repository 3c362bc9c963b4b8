"""Every object fits the schemas of Kubernetes 1.29, 1.32 and 1.35.

Not covered by a schema here: kinds of KEDA and of the Prometheus operator. The parts of a
ScaledObject that have a Kubernetes type are checked as that type, alert rules by promtool.
"""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.helpers.manifests import (
    KUBERNETES,
    MANIFESTS,
    OBJECTS,
    OVERLAYS,
    WITHOUT_SCHEMA,
    name_of,
    read,
    rendered,
)

WITH_SCHEMA = [p for p in OBJECTS if read(p)["kind"] not in WITHOUT_SCHEMA]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", WITH_SCHEMA, ids=name_of)
def test_object_fits_its_schema(path: Path, version: str) -> None:
    kubernetes_validate.validate(read(path), version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("folder", OVERLAYS, ids=name_of)
def test_rendered_overlay_fits_its_schema(folder: Path, version: str) -> None:
    for content in rendered(name_of(folder)):
        if content["kind"] not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(content, version, strict=True)


def test_only_other_projects_kinds_go_without_a_schema() -> None:
    left_out = {read(path)["kind"]: path for path in set(OBJECTS) - set(WITH_SCHEMA)}
    assert left_out.keys() == WITHOUT_SCHEMA
    del left_out["CustomResourceDefinition"]
    for path in left_out.values():
        with pytest.raises(kubernetes_validate.utils.SchemaNotFoundError):
            kubernetes_validate.validate(read(path), KUBERNETES[-1], strict=True)


def test_schema_check_rejects_a_misspelt_key() -> None:
    broken = read(MANIFESTS / "examples" / "hpa.yaml")
    broken["spec"]["behavior"]["scaleUp"]["tolerence"] = "0"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES[-1], strict=True)


def test_older_kubernetes_does_not_know_tolerance() -> None:
    """Why the example goes without, and a component adds it."""
    hpa = read(MANIFESTS / "examples" / "hpa.yaml")
    hpa["spec"]["behavior"]["scaleUp"]["tolerance"] = "0"
    kubernetes_validate.validate(hpa, "1.35", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(hpa, "1.32", strict=True)


@pytest.mark.parametrize("path", OBJECTS, ids=name_of)
def test_file_holds_one_object_and_is_named_after_it(path: Path) -> None:
    (content,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", content["kind"]).lower()
    short = {"horizontal-pod-autoscaler": "hpa"}.get(words, words)
    assert path.stem == short or path.stem.startswith(f"{short}-")
