import json
import re

import pytest
import yaml

from adapter.cli import main
from adapter.commands.replay_runs import Strain, known_policies
from adapter.commands.replay_settings import replay_settings
from simulator.policies.table import BASELINES
from simulator.routers import ROUTERS
from simulator.scenario import shipped_scenarios
from simulator.world import World

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
        pytest.param(
            ["public-ramp", "--scrape-loss", "1"], "--scrape-loss 1: a share", id="scrape loss"
        ),
        pytest.param(
            ["public-ramp", "--profile-factor", "0"],
            "--profile-factor 0: must be 0.1 to 10",
            id="factor",
        ),
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


def test_a_strain_is_the_worlds_doing_and_not_told():
    strain = Strain(cold_start_factor=2.0, scrape_loss_ratio=0.25)
    told = scenario()
    assert strain.world_of(told).variants[0].cold_start.mean_s == 20.0
    assert replay_settings(told).variants[0].cold_start_s == 10.0
    world = World(told, seed=1, compiled=False)
    strain.put_on(BASELINES["static"].factory)(world)
    failed = [world.scrape_fails() for _ in range(400)]
    assert 0.15 < sum(failed) / 400 < 0.35


def test_wrong_profiles_are_what_the_settings_say():
    given, true = replay_settings(scenario(), profile_factor=1.3), replay_settings(scenario())
    wrong, right = (s.models["m"].profiles["A"].alpha_ms for s in (given, true))
    assert wrong == pytest.approx(1.3 * right)


@pytest.mark.parametrize("router", ROUTERS)
def test_the_decision_is_told_the_law_of_the_router_by_the_settings_name_for_it(router):
    told = scenario()
    models = tuple(model.model_copy(update={"routing": router}) for model in told.models)
    variants = tuple(v.model_copy(update={"routing_weight": 2.5}) for v in told.variants)
    settings = replay_settings(told.model_copy(update={"models": models, "variants": variants}))
    assert settings.models["m"].routing == ROUTERS[router]
    assert settings.variants[0].routing_weight == (2.5 if router == "weighted" else None)


def test_an_audit_routes_by_any_router_that_can_be_simulated(capsys):
    with pytest.raises(SystemExit):
        main(["audit", "--prometheus", "http://127.0.0.1:1", "--routing", "by-magic"])
    told = capsys.readouterr().err.split("choose from")[1]
    assert set(re.findall(r"[a-z_]+", told)) == set(ROUTERS)


def test_half_of_the_scrapes_may_fail(path, capsys):
    flags = ["--policy", "wva", "--scrape-loss", "0.5", "--cold-start-factor", "2"]
    assert main(["replay", str(path), *flags, "--seeds", "1", "--jobs", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["strain"]["scrape_loss_ratio"] == 0.5
    assert found["policies"]["wva"]["figures"]["attainment"]["mean"] > 0.8
