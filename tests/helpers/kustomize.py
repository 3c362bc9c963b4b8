"""What a kustomization renders to, for machines without kubectl.

The part of kustomize that manifests/ uses: resources, components, configMapGenerator from
files, labels, images, namespace, and patches (JSON 6902 `add`, `replace` and `remove`, and
`$patch: delete`). Anything else is an error, so that a kustomization that grows shows
it here. Where kubectl is, a test compares the two.
"""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Manifest", "render"]

Manifest = dict[str, Any]

KNOWN = {
    "apiVersion",
    "kind",
    "resources",
    "components",
    "configMapGenerator",
    "labels",
    "images",
    "namespace",
    "patches",
}
CLUSTER_WIDE = {
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "APIService",
}


def render(folder: Path, below: Iterable[Manifest] = ()) -> list[Manifest]:
    """Return the objects of the kustomization in `folder`, over those `below` it."""
    content = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    unknown = content.keys() - KNOWN
    if unknown:
        raise NotImplementedError(f"{folder}: {', '.join(sorted(unknown))}")
    objects = list(below)
    for entry in content.get("resources", []):
        objects += _load(folder / entry)
    for generator in content.get("configMapGenerator", []):
        _generate(folder, generator, objects)
    for entry in content.get("components", []):
        objects = render(folder / entry, objects)
    for patch in content.get("patches", []):
        objects = _patched(folder, patch, objects)
    for change in content.get("labels", []):
        _label(change, objects)
    for image in content.get("images", []):
        _retag(image, objects)
    if "namespace" in content:
        _move(content["namespace"], objects)
    return objects


def _load(target: Path) -> list[Manifest]:
    if target.is_dir():
        return render(target)
    return list(yaml.safe_load_all(target.read_text(encoding="utf-8")))


def _generate(folder: Path, generator: Manifest, objects: list[Manifest]) -> None:
    if not generator["options"]["disableNameSuffixHash"]:
        raise NotImplementedError("names with a hash of the content")
    data = {name: (folder / name).read_text(encoding="utf-8") for name in generator["files"]}
    key = {"name": generator["name"], "namespace": generator["namespace"]}
    if generator.get("behavior") == "replace":
        (old,) = [o for o in objects if o["kind"] == "ConfigMap" and _is(o, key)]
        old["data"] = data
        return
    objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": key, "data": data})


def _is(content: Manifest, key: Manifest) -> bool:
    return all(content["metadata"].get(name) == value for name, value in key.items())


def _patched(folder: Path, patch: Manifest, objects: list[Manifest]) -> list[Manifest]:
    text = patch.get("patch") or (folder / patch["path"]).read_text(encoding="utf-8")
    change = yaml.safe_load(text)
    if isinstance(change, list):
        for content in objects:
            if _meant(patch["target"], content):
                for operation in change:
                    _operate(operation, content)
        return objects
    if change.get("$patch") != "delete":
        raise NotImplementedError("strategic merge patches other than a deletion")
    target = patch.get("target") or {"kind": change["kind"], **change["metadata"]}
    kept = [content for content in objects if not _meant(target, content)]
    if len(kept) == len(objects):
        raise ValueError(f"nothing to delete: {target}")
    return kept


def _meant(target: Manifest, content: Manifest) -> bool:
    group, _, version = content["apiVersion"].rpartition("/")
    metadata = content["metadata"]
    has = {
        "group": group,
        "version": version,
        "kind": content["kind"],
        "name": metadata["name"],
        "namespace": metadata.get("namespace"),
    }
    wanted = dict(target)
    key, _, value = wanted.pop("annotationSelector", "").partition("=")
    if key and metadata.get("annotations", {}).get(key) != value:
        return False
    return all(has[name] == wanted[name] for name in wanted)


def _operate(operation: Manifest, content: Manifest) -> None:
    """Apply one JSON 6902 operation."""
    *path, last = [
        p.replace("~1", "/").replace("~0", "~") for p in operation["path"][1:].split("/")
    ]
    place: Any = content
    for step in path:
        place = place[int(step)] if isinstance(place, list) else place[step]
    value = copy.deepcopy(operation.get("value"))
    match operation["op"], place:
        case "add", list():
            place.insert(len(place) if last == "-" else int(last), value)
        case "add", dict():
            place[last] = value
        case "replace", list():
            place[int(last)] = value
        case "replace", dict() if last in place:
            place[last] = value
        case "remove", list():
            del place[int(last)]
        case "remove", dict():
            del place[last]
        case _:
            raise NotImplementedError(str(operation))


def _label(change: Manifest, objects: list[Manifest]) -> None:
    if change.keys() != {"pairs"}:
        raise NotImplementedError("labels in selectors and templates")
    for content in objects:
        content["metadata"].setdefault("labels", {}).update(change["pairs"])


def _retag(image: Manifest, objects: list[Manifest]) -> None:
    for content in objects:
        template = content.get("spec", {}).get("template", {}).get("spec", {})
        for container in template.get("containers", []):
            name, _, tag = container["image"].partition(":")
            if name == image["name"]:
                container["image"] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"


def _move(namespace: str, objects: list[Manifest]) -> None:
    accounts = {o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount"}
    for content in objects:
        if content["kind"] not in CLUSTER_WIDE:
            content["metadata"]["namespace"] = namespace
        for subject in content.get("subjects", []):
            if subject["kind"] == "ServiceAccount" and subject["name"] in accounts:
                subject["namespace"] = namespace
