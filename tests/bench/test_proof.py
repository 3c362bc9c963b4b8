import dataclasses

import pytest

from bench.proof_cells import ABLATIONS, ROBUSTNESS, Cell, Store
from bench.proof_figures import Results
from bench.proof_page import render_page
from bench.proof_tables import CLAIRVOYANT, PAPER, PUBLIC, Table, tables
from simulator.policies.table import BASELINES, GRIDS
from simulator.scenario import load_scenario, shipped_scenarios

FIGURES = {
    "attainment": 0.99,
    "worst_5_min": 0.9,
    "goodput_rps": 10.0,
    "failed": 1.0,
    "ttft_p95_s": 0.5,
    "itl_p95_s": 0.03,
    "replicas_mean": 4.0,
    "gpu_hours": 2.0,
    "cost": 5.0,
    "energy_kwh": 1.0,
    "actions": 3.0,
}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", "a" * 64)


def kept(store, scenario, policy, **changes):
    cell = Cell(scenario=scenario, policy=policy, seeds=(1,))
    store.keep(cell, [FIGURES | changes], 1.0)
    return cell


def page(store, cells):
    results = Results.of(store, [Table("all", tuple(cells))])
    return render_page(results, seeds=1, settings={PAPER: "b" * 64})


def test_a_result_is_found_again_until_the_code_changes(store):
    cell = kept(store, PAPER, "wva")
    assert store.find(cell) == [FIGURES]
    assert dataclasses.replace(store, sha256="c" * 64).find(cell) is None


def test_every_run_has_a_file_of_its_own():
    cells = {cell for table in tables(2) for cell in table.cells}
    assert len({cell.key for cell in cells}) == len(cells)


def test_tables_name_what_there_is():
    for cell in (cell for table in tables(1) for cell in table.cells):
        assert cell.scenario in shipped_scenarios()
        assert cell.policy in {*BASELINES, "wva", "wva-keda", CLAIRVOYANT}
        assert not cell.setting or cell.setting in GRIDS[cell.policy]


@pytest.mark.parametrize("name", [*ROBUSTNESS, *ABLATIONS])
def test_a_variation_is_a_world_or_settings_of_its_own(name):
    scenario = load_scenario(PAPER)
    plain = {**ABLATIONS, **ROBUSTNESS}[name](scenario)
    changed_world = plain[0] != scenario
    defaults = ABLATIONS["change is free (change_price_ratio 0)"](scenario)[1]
    assert changed_world or plain[1] != defaults.model_copy(update={"change_price_ratio": 0.05})


@pytest.mark.parametrize(
    ("ours", "claim"),
    [
        pytest.param({"goodput_rps": 14.0, "failed": 0.0}, "*holds*: goodput +40.0%", id="better"),
        pytest.param({"goodput_rps": 9.0}, "**fails**: goodput -10.0%", id="worse"),
        pytest.param(
            {"goodput_rps": 14.0, "gpu_hours": 2.1}, "**fails**: goodput +40.0%", id="dearer"
        ),
    ],
)
def test_a_claim_is_held_against_its_numbers(store, ours, claim):
    cells = [kept(store, PAPER, "wva", **ours), kept(store, PAPER, "hpa-kv", failed=20.0)]
    assert claim in page(store, cells)


def test_who_is_better_and_cheaper_is_named(store):
    cells = [
        kept(store, PUBLIC, "wva"),
        kept(store, PUBLIC, CLAIRVOYANT, cost=4.5),
        kept(store, PUBLIC, "knative", attainment=0.995, cost=4.0),
        kept(store, PUBLIC, "static", attainment=1.0, cost=9.0),
    ]
    assert "| knative |" in page(store, cells)
    assert "**fails**: dominated in 1 of 1: public-ramp" in page(store, cells)


def test_without_any_run_the_page_claims_nothing(store):
    text = page(store, [Cell(scenario=PAPER, policy="wva", seeds=(1,))])
    assert "0 of 1 runs" in text
    assert "- *holds*" not in text
