"""`wva profiles` over a real listener: what is in force, and that as settings it is the same."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from adapter.cli import main
from adapter.config import parse_settings
from adapter.decide import DecisionMemory, decide
from adapter.records import TickReport
from optimizer import Trust
from tests.helpers.api import ApiHarness
from tests.helpers.publications import publication_of
from tests.helpers.snapshots import catalog_of, replica, snapshot_of

SETTINGS = """
models: {{chat: {{profiles: {profiles}}}, meta-llama/Llama-3.1-8B: {{}}}}
variants:
  - {{name: own, model: chat, accelerator: H100}}
  - {{name: known, model: meta-llama/Llama-3.1-8B, accelerator: H100}}
  - {{name: odd, model: chat, accelerator: unheard-of}}
"""
GIVEN = "{H100: {alpha_ms: 6.5, beta_ms: 0.02, gamma_ms: 0.00005, max_batch_size: 128}}"
REPORT = TickReport(collect_s=0.0, decide_s=0.0, encode_s=0.0)


def published(profiles=GIVEN):
    catalog = catalog_of(SETTINGS.format(profiles=profiles))
    snapshot = snapshot_of(catalog, [replica(row, f"p{row}") for row in range(3)])
    return decide(snapshot, catalog, DecisionMemory.empty(), report=REPORT)[0]


@pytest.fixture
def api():
    with ApiHarness(open_to_all=True) as harness:
        harness.publish(published())
        yield harness


def profiles(api: ApiHarness, *arguments: str) -> int:
    authority: Path = api.folder / "ca.crt"
    authority.write_bytes(api.tls.bundle_pem)
    url = f"https://127.0.0.1:{api.port}"
    return main(["profiles", *arguments, "--url", url, "--ca-file", str(authority)])


def test_the_table_says_what_is_in_force_and_whence(api, capsys):
    assert profiles(api) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["default/own"][1:4] == ["H100", "given", "6.5"]
    assert lines["default/known"][1:5] == ["H100", "prior", "published", "6.36"]
    assert lines["default/odd"][2] == "none"
    assert lines["default/odd"][3] == "-", "absent isn't zero"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        pytest.param(["own"], ["own"], id="one"),
        pytest.param(["default/known", "own", "own"], ["known", "own"], id="several, once"),
        pytest.param(["default/"], ["own", "known", "odd"], id="a namespace"),
    ],
)
def test_only_what_is_named_is_printed(api, capsys, arguments, names):
    assert profiles(api, *arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(one["variant"] for one in found) == sorted(names)


def test_a_variant_that_is_not_there_is_told_of(api, capsys):
    assert profiles(api, "mistral") == 1
    assert "no variant 'mistral'" in capsys.readouterr().err


def test_a_variant_without_a_profile_is_told_of_in_the_settings(api, capsys):
    api.publish(publication_of({"default/llama": 3.0}, sequence=2))
    assert profiles(api, "--settings") == 0
    assert capsys.readouterr().out == "# default/llama has no profile\n"


def test_printed_as_settings_it_is_the_same_profile_and_fixed(api, capsys):
    assert profiles(api, "--settings") == 0
    text = capsys.readouterr().out
    assert "# default/odd has no profile" in text
    variants = yaml.safe_load(SETTINGS.format(profiles="{}"))["variants"]
    whole = text + yaml.safe_dump({"variants": variants})
    declared = parse_settings(whole).models
    assert declared["chat"].profiles["H100"].max_batch_size == 128
    before, catalog = published(), catalog_of(whole)
    assert catalog.profile_trust.tolist() == [Trust.FIXED, Trust.FIXED, Trust.NONE]
    snapshot = snapshot_of(catalog, [replica(row, f"p{row}") for row in range(3)])
    after, _ = decide(snapshot, catalog, DecisionMemory.empty(), report=REPORT)
    for name, column in before.details.items():
        if name.startswith("profile."):
            np.testing.assert_allclose(after.details[name], column, rtol=1e-8, err_msg=name)
    assert after.texts["profile"] == ("fixed", "fixed", "none")
