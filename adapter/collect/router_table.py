"""What routers call their counts, and whose they are: the table, and its reading of series. Pure.

A router's series name models as requests do (`model_name`) and as they are rewritten
(`target_model_name`); a variant's model may be called by either, or by one of its served names.
Namespaces are not in them, so a name that two namespaces use is told apart by the router's own
namespace, or not at all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from urllib.parse import urlsplit

import yaml

from ..config import Settings
from ..records import ModelKey
from .binding import SeriesIndex
from .selectors import Selector, canonical, parse_selector

__all__ = ["MODEL_LABELS", "ModelNames", "RouterTable", "load_router_table", "namespace_of"]

# The labels that name a model, the surest first.
MODEL_LABELS = ("target_model_name", "model_name", "model")


@dataclass(frozen=True, slots=True)
class RouterTable:
    """Signals of routers, each with its names in order of preference."""

    signals: Mapping[str, tuple[Selector, ...]]

    def first(self, signal: str, index: SeriesIndex) -> list[int]:
        """Return the series of the first name of a signal that a page holds."""
        found = (index.select(selector) for selector in self.signals[signal])
        return next((places for places in found if places), [])

    def wanted(self) -> set[str]:
        """Return all sample names, in both spellings of a colon."""
        names = {selector.name for ways in self.signals.values() for selector in ways}
        return names | {canonical(name) for name in names}


def load_router_table() -> RouterTable:
    """Return the table that comes with the adapter."""
    text = resources.files(__package__).joinpath("routers.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    return RouterTable({n: tuple(parse_selector(s) for s in ways) for n, ways in content.items()})


@dataclass(frozen=True, slots=True)
class ModelNames:
    """Which model a router's series is about."""

    models: tuple[ModelKey, ...]
    rows: Mapping[str, tuple[int, ...]]  # by name, in lower case

    @classmethod
    def of(cls, settings: Settings) -> "ModelNames":
        """Return the names of the settings' models, in the order of the Snapshot's."""
        models = tuple(dict.fromkeys(ModelKey(v.namespace, v.model) for v in settings.variants))
        rows: dict[str, tuple[int, ...]] = {}
        for row, key in enumerate(models):
            model = settings.models.get(key.model)
            served: Iterable[str] = model.served_names if model is not None else ()
            for name in {key.model.lower(), *(name.lower() for name in served)}:
                rows[name] = (*rows.get(name, ()), row)
        return cls(models, rows)

    def row(self, labels: Mapping[str, str], namespace: str) -> int | None:
        """Return the model that the labels name; None: none of ours, or more than one.

        A series that names no model (older routers' do not) is the model's if there is just one.

        `namespace` is that of the router, "" where it isn't known.
        """
        if not any(labels.values()):
            return 0 if len(self.models) == 1 else None
        for label in MODEL_LABELS:
            rows = self.rows.get(labels.get(label, "").lower(), ())
            if namespace and len(rows) > 1:
                rows = tuple(row for row in rows if self.models[row].namespace == namespace)
            if len(rows) == 1:
                return rows[0]
        return None


def namespace_of(url: str) -> str:
    """Return the namespace in the name of a Kubernetes Service, "" if it isn't one."""
    parts = (urlsplit(url).hostname or "").split(".")
    return parts[1] if len(parts) >= 3 and parts[2] == "svc" else ""
