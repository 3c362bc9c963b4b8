"""Publications built from a few words, for tests of what is done with them."""

import numpy as np

from adapter.publish import SERVED_METRICS
from adapter.records import Publication, TickReport, VariantKey
from optimizer import Binding

BINDING_NAMES = tuple("".join(w.capitalize() for w in b.name.split("_")) for b in Binding)


def report_of(**changes) -> TickReport:
    return TickReport(**{"collect_s": 0.1, "decide_s": 0.02, "encode_s": 0.003, **changes})


def publication_of(
    desired: dict[str, float],
    *,
    current: float = 2.0,
    age_s: float = 1.0,
    binding: Binding = Binding.DEMAND,
    details: dict[str, float] | None = None,
    sequence: int = 1,
    published_unix_s: float = 1.8e9,
    max_decision_age_s: float = 30.0,
    hold_s: float = 600.0,
    message: str = "",
    texts: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    report: TickReport | None = None,
) -> Publication:
    """Return one decision; `desired` maps namespace/variant to replicas, the rest is the same for all."""
    keys = tuple(VariantKey(*name.split("/")) for name in desired)
    wanted = np.array(list(desired.values()), dtype=float)
    there = np.full(len(keys), current)
    values = {name: np.full(len(keys), np.nan) for name in SERVED_METRICS}
    values["wva_desired_replicas"] = wanted
    values["wva_current_replicas"] = there
    values["wva_desired_ratio"] = np.divide(wanted, there, out=wanted.copy(), where=there > 0)
    values["wva_recommended_replicas"] = wanted
    return Publication(
        sequence=sequence,
        published_unix_s=published_unix_s,
        variants=keys,
        labels=tuple(
            {
                "variant_name": key.name,
                "namespace": key.namespace,
                "exported_namespace": key.namespace,
                "model_name": "llama-3.1-8b",
                "accelerator_type": "H100",
                "service_class": "premium",
                **(labels or {}),
            }
            for key in keys
        ),
        values=values,
        held_values=np.maximum(wanted, there),
        reading_age_s=np.full(len(keys), age_s),
        read_unix_s=np.full(len(keys), published_unix_s - (age_s if np.isfinite(age_s) else 0.0)),
        message=(message,) * len(keys),
        details={name: np.full(len(keys), value) for name, value in (details or {}).items()},
        binding=np.full(len(keys), binding, dtype=np.int8),
        binding_names=BINDING_NAMES,
        texts={
            name: (word,) * len(keys) for name, word in {"brake": "None", **(texts or {})}.items()
        },
        max_decision_age_s=max_decision_age_s,
        hold_s=hold_s,
        report=report or report_of(),
    )
