"""How an audit takes requests to have been routed: the flag, the settings, else assumed."""

from argparse import Namespace

import pytest

from adapter.commands.audit.declared import Declared
from adapter.config import parse_settings


@pytest.mark.parametrize(
    ("flag", "settings", "router", "assumed"),
    [
        (None, None, "least_loaded", 0),
        ("kv_aware", None, "kv_aware", 0),
        (None, "{m: {routing: equal_per_replica}}", "equal_per_replica", 0),
        ("round_robin", "{m: {routing: weighted}}", "round_robin", 0),
        (None, "{m: {routing: learned}}", "least_loaded", 0),
        (None, "{m: {routing: separate}}", "least_loaded", 1),
    ],
)
def test_a_flag_counts_before_the_settings_law(flag, settings, router, assumed):
    declared = Declared(
        options=Namespace(routing=flag),
        settings=None if settings is None else parse_settings(f"models: {settings}"),
    )
    assert declared.router("m") == router
    assert len(declared.assumptions) == assumed
