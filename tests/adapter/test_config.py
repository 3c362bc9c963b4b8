"""Settings: promised defaults, and errors that name the place, the value and the remedy."""

import pytest

from adapter.config import load_settings, parse_settings
from adapter.errors import ConfigError


def test_zero_settings_work():
    settings = parse_settings("")
    assert settings.interval_s == 5
    assert settings.sources.scraping is not None
    assert (settings.api.port, settings.keda.port, settings.health.port) == (8443, 6000, 8080)
    assert settings.brakes.warm_up_s == 600
    assert settings.brakes.max_scale_down_ratio == 0.2
    assert settings.max_decision_age_s == 30
    assert settings.hold_s == 600
    assert settings.hpa_tolerance == 0.1


VARIANT = "{name: a, model: m, accelerator: X%s}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("interval: 5", r"interval: Extra inputs", id="unknown-key-at-the-top"),
        pytest.param(
            "sources: {scrape: {timeout: 1}}", "sources.scrape.timeout", id="unknown-nested"
        ),
        pytest.param(
            "interval_s: 0", r"interval_s: .*greater than 0 \(got 0\)", id="out-of-bounds"
        ),
        pytest.param("interval_s: [", "not YAML", id="not-yaml"),
        pytest.param("- a", "expected a mapping", id="not-a-mapping"),
        pytest.param(
            f"variants: [{VARIANT % ', min_replicas: 3, max_replicas: 2'}]",
            "min_replicas 3 is above max_replicas 2",
            id="reversed-bounds",
        ),
        pytest.param(
            f"variants: [{VARIANT % ''}, {VARIANT % ''}]", "default/a is declared twice", id="twice"
        ),
        pytest.param(
            f"models: {{n: {{}}}}\nvariants: [{VARIANT % ''}]",
            r"model 'm' is not under models: \(n\)",
            id="unknown-model",
        ),
        pytest.param(
            "models: {m: {service_class: gold}}\nservice_classes: {silver: {}}",
            r"service class 'gold' is not declared \(known: silver\)",
            id="unknown-class",
        ),
        pytest.param(
            "api: {auth: none, host: 0.0.0.0}", "refused on '0.0.0.0'", id="open-to-the-network"
        ),
        pytest.param(
            f"variants: [{VARIANT % ', endpoints: [pod:8000]'}]",
            "'pod:8000' must start with http",
            id="endpoint-without-scheme",
        ),
        pytest.param(
            "interval_s: 20",
            "sources.scrape.window_s 20 is below 40, twice interval_s: .*Make window_s longer",
            id="window-that-never-holds-two-readings",
        ),
        pytest.param(
            "interval_s: 5\nsources: {scrape: {interval_s: 2}}",
            "sources.scrape.interval_s 2 isn't interval_s 5: .*Leave it out",
            id="scrapes-at-another-pace-than-decisions",
        ),
        pytest.param(
            "sources: {scrape: {}, prometheus: {url: http://p}}", "not both", id="two-sources"
        ),
        pytest.param(
            f"models: {{m: {{}}}}\nvariants: [{VARIANT % ', routing_weight: 2'}]",
            "routing_weight 2 says nothing where model m has routing: learned. Set routing: w",
            id="weight-without-a-router-that-goes-by-it",
        ),
        pytest.param(
            "models: {m: {routing: separate}}\nvariants: "
            f"[{VARIANT % ', role: prefill'}, {{name: b, model: m, accelerator: X, role: decode}}]",
            "routing: separate with role: prefill of a: .*Leave routing out",
            id="roles-that-are-kept-apart",
        ),
        pytest.param(
            f"variants: [{VARIANT % ', takes_over: b'}]",
            "takes_over 'b' is no other variant of namespace default",
            id="takeover-of-nobody",
        ),
        pytest.param(
            "models: {m: {routing: round_robin}}",
            "models.m.routing: .*'learned', 'equal_per_replica', .* or 'separate'",
            id="a-router-is-no-law",
        ),
    ],
)
def test_faults_are_named(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_settings(text)


def test_every_fault_is_listed():
    with pytest.raises(ConfigError) as caught:
        parse_settings("interval_s: 0\nhold_s: -1\nnonsense: 1")
    assert "3 fault(s)" in str(caught.value)


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read settings"):
        load_settings(tmp_path / "none.yaml")


def test_loopback_may_go_without_authentication():
    assert parse_settings("api: {auth: none, host: 127.0.0.1}").api.auth == "none"
