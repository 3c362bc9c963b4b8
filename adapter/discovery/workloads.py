"""Scale targets: how many replicas they have, what one of them needs, how its engine runs. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engine_arguments import EngineArguments, limits_in, parse_engine_arguments
from ..kube.fields import count_at, items_at, mapping_at, text_at, texts_at
from .accelerator_requests import named_by, requested
from .engine_ports import engine_container
from .pods import Owner

__all__ = ["WATCHED_KINDS", "NamedTarget", "Workload", "reduce_workload"]

# Kinds that are watched for everybody; others are asked for by name.
WATCHED_KINDS = frozenset({"Deployment", "StatefulSet", "LeaderWorkerSet"})
_ENGINE_VARIABLES = ("VLLM_USE_V1",)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTarget:
    """A scale target that has to be asked for by name."""

    namespace: str
    api_version: str
    kind: str
    name: str
    service: str = ""  # whose endpoints are its replicas; "": its own selector's pods

    @property
    def owner(self) -> Owner:
        """Return what its pods name as their owner."""
        return (self.kind, self.name)

    def needed(self) -> bool:
        """Return whether nothing else that is watched says as much."""
        return self.kind not in WATCHED_KINDS or bool(self.service)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is kept of a Deployment, StatefulSet, LeaderWorkerSet or anything with a scale."""

    namespace: str
    owner: Owner  # its kind and name
    wanted: int  # spec.replicas
    current: int  # status.replicas, as HPA reads it
    ready: int
    rolling: bool  # its pods are of more than one version
    accelerators: tuple[str, int]  # resource and count of one replica
    accelerator: str  # the type that its template asks for, "" if it doesn't
    limits: tuple[str, ...]  # what its engine's command line says of limits
    arguments: EngineArguments
    served_names: tuple[str, ...]  # what requests call the model, its LoRA adapters included


def reduce_workload(document: Mapping[str, Any], kind: str) -> Workload | None:
    """Return what is kept of a scale target of a kind."""
    metadata, spec = mapping_at(document, "metadata"), mapping_at(document, "spec")
    status = mapping_at(document, "status")
    pod = _leader_spec(spec) if kind == "LeaderWorkerSet" else mapping_at(spec, "template", "spec")
    engine = engine_container(list(items_at(pod, "containers")))
    command = [
        *_environment(engine),
        *(texts_at(engine, "command") or (text_at(engine, "image"),)),
        *texts_at(engine, "args"),
    ]
    wanted = count_at(spec, "replicas")
    return Workload(
        namespace=text_at(metadata, "namespace"),
        owner=(kind, text_at(metadata, "name")),
        wanted=1 if wanted is None else wanted,
        current=count_at(status, "replicas") or 0,
        ready=count_at(status, "readyReplicas") or 0,
        rolling=_is_rolling(metadata, spec, status),
        accelerators=_of_replica(spec, pod, kind),
        accelerator=named_by(pod),
        limits=limits_in(command),
        arguments=parse_engine_arguments(command),
        served_names=_served_names(command),
    )


def _environment(engine: Mapping[str, Any]) -> list[str]:
    """Return the variables that change an engine's own defaults, as a shell writes them."""
    told = {text_at(entry, "name"): text_at(entry, "value") for entry in items_at(engine, "env")}
    return [f"{name}={told[name]}" for name in _ENGINE_VARIABLES if told.get(name)]


def _leader_spec(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    template = mapping_at(spec, "leaderWorkerTemplate")
    return mapping_at(template, "leaderTemplate", "spec") or mapping_at(
        template, "workerTemplate", "spec"
    )


def _of_replica(spec: Mapping[str, Any], pod: Mapping[str, Any], kind: str) -> tuple[str, int]:
    """Return the accelerators of one replica: of a group, the leader's and all workers'."""
    name, number = requested(pod)
    if kind != "LeaderWorkerSet":
        return name, number
    template = mapping_at(spec, "leaderWorkerTemplate")
    size = count_at(template, "size") or 1
    worker_name, of_worker = requested(mapping_at(template, "workerTemplate", "spec"))
    return name or worker_name, number + (size - 1) * of_worker


def _is_rolling(
    metadata: Mapping[str, Any], spec: Mapping[str, Any], status: Mapping[str, Any]
) -> bool:
    """Return whether pods of an older version are still to be replaced.

    `updatedReplicas` alone also lags while a workload scales up, but then every pod that
    there is has the new version.
    """
    if spec.get("paused") is True:
        return False
    generation, seen = count_at(metadata, "generation"), count_at(status, "observedGeneration")
    current, updated = count_at(status, "replicas") or 0, count_at(status, "updatedReplicas") or 0
    versions = {text_at(status, key) for key in ("currentRevision", "updateRevision")}
    behind = generation is not None and seen is not None and seen < generation
    if behind:
        return False  # the status is not about this spec yet; scaling changes it, too
    return updated < current and (len(versions) != 1 or versions == {""})


def _served_names(command: list[str]) -> tuple[str, ...]:
    """Return the names after `--served-model-name`, and those of the LoRA adapters.

    An adapter is `name=path`, or JSON with a name; a router counts requests by its name.
    """
    names: list[str] = []
    flag = ""
    for word in command:
        value = word
        if word.startswith("--"):
            flag, _, value = word.partition("=")
        if flag in ("--lora-modules", "--lora-paths"):
            value = _adapter_name(value)
        elif flag != "--served-model-name":
            continue
        names.append(value)
    return tuple(name for name in names if name)


def _adapter_name(word: str) -> str:
    """Return the name in a word that declares a LoRA adapter, "" where it has none."""
    if not word.startswith("{"):
        name, equals, _ = word.partition("=")
        return name if equals else ""
    try:
        told = json.loads(word)
    except ValueError:
        return ""
    return text_at(told, "name") or text_at(told, "lora_name")
