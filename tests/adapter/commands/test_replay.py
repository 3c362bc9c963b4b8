import json

import pytest
import yaml

from adapter.cli import main
from adapter.commands.replay_runs import known_policies
from simulator.scenario import shipped_scenarios

from ...simulator.replays import scenario, variant


@pytest.fixture
def path(tmp_path):
    one = scenario(duration_s=40.0, variants=[variant("small-a", "A")])
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(one.model_dump(mode="json")))
    return file


def test_policies_are_compared_on_the_same_requests(path, tmp_path, capsys):
    out = tmp_path / "report"
    arguments = ["replay", str(path), "--policy", "wva", "--policy", "clairvoyant", "--json"]
    assert main([*arguments, "--seeds", "2", "--jobs", "1", "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "results.json").read_text())
    assert found["seeds"] == [1, 2]
    offered = [[run["offered"] for run in policy["runs"]] for policy in found["policies"].values()]
    assert offered[0] == offered[1]
    wva = found["policies"]["wva"]["figures"]
    assert wva["attainment"]["mean"] > 0.9
    assert len(found["clairvoyant_frontier"]) >= 1
    assert len(found["wva_settings_sha256"]) == 64


def test_the_table_names_every_policy(path, capsys):
    assert main(["replay", str(path), "--policy", "static", "--seeds", "1", "--jobs", "1"]) == 0
    assert "static" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "name a scenario", id="no scenario"),
        pytest.param(["nowhere"], "no such file", id="unknown scenario"),
        pytest.param(
            ["public-ramp", "--policy", "magic"], "--policy magic: known are wva", id="policy"
        ),
        pytest.param(
            ["public-ramp", "--grid", "static"], "--grid static: there are grids", id="grid"
        ),
        pytest.param(["public-ramp", "--seeds", "0"], "--seeds 0: at least 1", id="seeds"),
    ],
)
def test_what_is_wrong_is_said_and_exits_with_2(arguments, message, capsys):
    assert main(["replay", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_list_names_scenarios_and_policies(capsys):
    assert main(["replay", "--list"]) == 0
    text = capsys.readouterr().out
    for name in (*shipped_scenarios(), *known_policies()):
        assert name in text
