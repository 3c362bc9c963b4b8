"""What docs/proof.md changes about a run of ours: what is wrong, and what is switched off."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adapter.commands.replay_settings import replay_settings
from adapter.config import Mechanisms, Settings
from adapter.config.sources import DialectSettings
from simulator.closed_loop import PolicyFactory
from simulator.cluster_spec import Event
from simulator.scenario import Scenario
from simulator.world import World

__all__ = ["ABLATIONS", "ROBUSTNESS", "Changed", "late"]

LATE_S = 15.0
ENDLESS_TOKENS = 10**9


@dataclass(frozen=True, slots=True)
class Changed:
    """The scenario and the settings of a run, and by how much metrics are late."""

    scenario: Scenario
    settings: Settings
    metrics_late_s: float = 0.0


Change = Callable[[Scenario], Changed]


def late(factory: PolicyFactory, late_s: float) -> PolicyFactory:
    """Return a factory whose policies read what was so long ago."""

    def delayed(world: World) -> Any:
        world.delay_metrics(late_s)
        return factory(world)

    return delayed


def _profiles_off(factor: float) -> Change:
    return lambda scenario: Changed(scenario, replay_settings(scenario, profile_factor=factor))


def _scrapes_fail(scenario: Scenario) -> Changed:
    failure = Event(at_s=0.0, kind="scrape-failure", share=0.05)
    broken = scenario.model_copy(update={"events": (*scenario.events, failure)})
    return Changed(broken, replay_settings(scenario))


def _metrics_late(scenario: Scenario) -> Changed:
    return Changed(scenario, replay_settings(scenario), LATE_S)


def _cold_starts_doubled(scenario: Scenario) -> Changed:
    """Return the scenario with the adapter told half of what a start takes."""
    settings = replay_settings(scenario)
    variants = tuple(
        told.model_copy(update={"cold_start_s": max(true.cold_start.mean_s / 2.0, 1.0)})
        for told, true in zip(settings.variants, scenario.variants, strict=True)
    )
    return Changed(scenario, settings.model_copy(update={"variants": variants}))


def _models(change: Callable[[Any], dict[str, Any]]) -> Change:
    def changed(scenario: Scenario) -> Changed:
        settings = replay_settings(scenario)
        models = {n: m.model_copy(update=change(m)) for n, m in settings.models.items()}
        return Changed(scenario, settings.model_copy(update={"models": models}))

    return changed


def _without_kv_bound(scenario: Scenario) -> Changed:
    """Return settings by which memory never runs out, and that don't read how much there is."""

    def endless(model: Any) -> dict[str, Any]:
        tokens = {"kv_capacity_tokens": ENDLESS_TOKENS}
        return {"profiles": {n: p.model_copy(update=tokens) for n, p in model.profiles.items()}}

    changed = _models(endless)(scenario)
    blind = DialectSettings(
        detect=("vllm:num_requests_running",),
        extends="vllm",
        signals={"kv_capacity_tokens": "not_exported"},
    )
    settings = changed.settings.model_copy(update={"dialects": {"vllm": blind}})
    return Changed(scenario, settings)


def _median(scenario: Scenario) -> Changed:
    """Return settings whose promise is about the median."""
    settings = replay_settings(scenario)
    classes = {
        name: each.model_copy(update={"slo": each.slo.model_copy(update={"percentile": 50.0})})
        for name, each in settings.service_classes.items()
    }
    return Changed(scenario, settings.model_copy(update={"service_classes": classes}))


def _without(*mechanisms: str) -> Change:
    off = Mechanisms(**dict.fromkeys(mechanisms, False))
    return lambda scenario: Changed(
        scenario, replay_settings(scenario).model_copy(update={"mechanisms": off})
    )


def _unlearned(scenario: Scenario) -> Changed:
    """Return settings without profiles, of which none is learned either."""
    bare, off = _without_profiles(scenario), Mechanisms(profile_learning=False)
    return Changed(scenario, bare.settings.model_copy(update={"mechanisms": off}))


def _setting(**changes: float) -> Change:
    return lambda scenario: Changed(scenario, replay_settings(scenario).model_copy(update=changes))


_without_profiles = _models(lambda _: {"profiles": {}})

ROBUSTNESS: Mapping[str, Change] = {
    "5 % of scrapes fail": _scrapes_fail,
    "metrics 15 s late": _metrics_late,
    "profiles 30 % too slow": _profiles_off(1.3),
    "profiles 30 % too fast": _profiles_off(0.7),
    "starts take twice what is declared": _cold_starts_doubled,
}
ABLATIONS: Mapping[str, Change] = {
    "no forecast quantile (upper_need_ratio 0.5)": _setting(upper_need_ratio=0.5),
    "no tail sizing (percentile 50)": _median,
    "no margin to stability (stability_margin_ratio 0)": _setting(stability_margin_ratio=0.0),
    "no KV bound (kv_capacity_tokens endless)": _without_kv_bound,
    "change is free (change_price_ratio 0)": _setting(change_price_ratio=0.0),
    "no patience (patience_ratio 0)": _setting(patience_ratio=0.0),
    "no fragmentation check (mechanisms.fragmentation_check)": _without("fragmentation_check"),
    "no global allocation (mechanisms.global_allocation)": _without("global_allocation"),
    "no given profiles, learned only": _without_profiles,
    "no given profiles, none learned (mechanisms.profile_learning)": _unlearned,
}
