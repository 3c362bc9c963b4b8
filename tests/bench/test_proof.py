import ast
import dataclasses

import pytest

from adapter.commands.replay_settings import replay_settings
from bench.proof import cells_of
from bench.proof_cells import Cell, Store, code_of, same_run
from bench.proof_code import RUN, closure, stripped
from bench.proof_figures import Results
from bench.proof_page import render_page
from bench.proof_tables import (
    CLAIRVOYANT,
    GRID_SEEDS,
    ORACLE,
    PAPER,
    PUBLIC,
    Table,
    best_settings,
    tables,
)
from bench.proof_variations import ABLATIONS, ROBUSTNESS
from simulator.policies.table import BASELINES, GRIDS
from simulator.scenario import load_scenario, shipped_scenarios

FIGURES = {
    "attainment": 0.99,
    "worst_5_min": 0.9,
    "goodput_rps": 10.0,
    "failed": 1.0,
    **{f"ttft_p{part}_s": 0.5 for part in (50, 95, 99)},
    **{f"itl_p{part}_s": 0.03 for part in (50, 95, 99)},
    "replicas_max": 5.0,
    "reversals": 0.0,
    "covered_after_s": 60.0,
    "replicas_mean": 4.0,
    "gpu_hours": 2.0,
    "cost": 5.0,
    "energy_kwh": 1.0,
    "actions": 3.0,
}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", lambda _: "a" * 64)


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
    assert dataclasses.replace(store, code_of=lambda _: "c" * 64).find(cell) is None


def test_every_run_has_a_file_of_its_own():
    cells = {cell for table in tables(2) for cell in table.cells}
    assert len({cell.key for cell in cells}) == len(cells)


def test_tables_name_what_there_is():
    for cell in (cell for table in tables(1) for cell in table.cells):
        assert cell.scenario in shipped_scenarios()
        assert cell.policy in {*BASELINES, "wva", "wva-keda", CLAIRVOYANT, ORACLE}
        assert not cell.setting or cell.setting in GRIDS[cell.policy]


@pytest.mark.parametrize("name", [*ROBUSTNESS, *ABLATIONS])
def test_a_variation_is_a_world_or_settings_of_its_own(name):
    scenario = load_scenario(PAPER)
    changed = {**ABLATIONS, **ROBUSTNESS}[name](scenario)
    plain = replay_settings(scenario)
    assert (changed.scenario, changed.settings, changed.metrics_late_s) != (scenario, plain, 0.0)


def test_results_depend_on_the_code_that_makes_them_and_no_other():
    baseline = closure(["simulator.closed_loop", "simulator.policies.table"])
    assert not any(name.startswith("simulator.policies") for name in closure(RUN))
    ours = closure(["adapter.commands.replay_wva"])
    assert {"simulator.kernel", "simulator.policies.knative"} <= baseline
    assert not any(name.startswith(("adapter", "optimizer.plan")) for name in baseline)
    assert {"optimizer.plan", "adapter.decide", "adapter.collect.readings"} <= ours
    assert not any(name.startswith(("adapter.app", "adapter.keda", "bench")) for name in ours)


def test_a_hash_is_of_the_scenario_and_of_who_runs():
    cells = [
        Cell(scenario=scenario, policy=policy, seeds=(1,), variation=variation)
        for scenario, policy, variation in (
            (PAPER, "wva", ""),
            (PAPER, "hpa-kv", ""),
            (PUBLIC, "wva", ""),
            (PAPER, "wva", "metrics 15 s late"),
        )
    ]
    assert len({code_of(cell) for cell in cells}) == 4
    other_seed = dataclasses.replace(cells[1], seeds=(2,))
    assert code_of(other_seed) == code_of(cells[1])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(("hpa-kv", ""), ("hpa-queue", ""), False, id="other settings of one law"),
        pytest.param(("static", ""), ("melange", ""), False, id="another law"),
        pytest.param(
            ("knative", ""), ("knative", "down delay 0 s"), True, id="the grid's same row"
        ),
        pytest.param((CLAIRVOYANT, ""), (CLAIRVOYANT, "0.00"), True, id="a bound's same headroom"),
    ],
)
def test_a_baselines_hash_is_of_its_own_law_and_settings(one, other, same):
    one, other = (
        code_of(Cell(scenario=PAPER, policy=policy, seeds=(1,), setting=setting))
        for policy, setting in (one, other)
    )
    assert (one == other) is same


def test_names_of_array_types_and_of_routing_laws_are_no_dependency():
    peers = closure((*RUN, "simulator.policies.hpa_signals"))
    assert "simulator.world" in peers
    assert not {"optimizer.domain", "simulator.routers"} & peers
    assert "optimizer.domain" in closure(["simulator.policies.upstream_wva"]), "it makes tables"


def test_annotations_and_docstrings_leave_results_valid():
    said = 'def f(x: int) -> int:\n    """A."""\n    y: float = x\n    return y\n'
    bare = "def f(x):\n    pass\n    y: str = x\n    return y\n"
    other = "def f(x):\n    pass\n    y: str = -x\n    return y\n"
    told = [ast.dump(stripped(ast.parse(text))) for text in (said, bare, other)]
    assert told[0] == told[1] != told[2]


def test_ours_and_the_baselines_are_all_there_are():
    every = {(policies, cell) for policies in ("ours", "baselines") for cell in chosen(policies)}
    assert len(every) == len(chosen(None))
    assert {cell.policy for cell in chosen("ours")} == {"wva", "wva-keda"}


def chosen(policies):
    return cells_of(tables(1), policies)


def test_behind_keda_ours_is_run_again_only_where_something_goes_to_zero(store):
    cell = Cell(scenario=PAPER, policy="wva-keda", seeds=(1,))
    assert same_run(cell).policy == "wva"
    kept(store, PAPER, "wva")
    assert store.find(cell) == [FIGURES]
    zero = dataclasses.replace(cell, scenario="scale-to-zero")
    assert same_run(zero) == zero


def test_the_best_of_a_grid_is_the_cheapest_of_the_good_ones(store):
    settings = list(GRIDS["knative"])
    for number, setting in enumerate(settings):
        for seed in GRID_SEEDS:
            cell = Cell(scenario=PAPER, policy="knative", seeds=(seed,), setting=setting)
            changes = {"attainment": (0.90, 0.953, 0.95)[number], "cost": (1.0, 9.0, 5.0)[number]}
            store.keep(cell, [FIGURES | changes], 1.0)
    assert best_settings(store) == {(PAPER, "knative"): settings[2]}
    tuned = Cell(scenario=PAPER, policy="knative", seeds=(1,), setting=settings[2])
    store.keep(tuned, [FIGURES | {"attainment": 0.7}], 1.0)
    text = page(store, [kept(store, PAPER, "wva"), kept(store, PAPER, "hpa-kv"), tuned])
    assert "| knative, best of grid | 1 | 70.0% |" in text
    assert "against knative, best of grid: 99.0%" in text


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


def test_who_has_more_seeds_is_compared_on_those_that_both_have(store):
    ours = [kept(store, PUBLIC, "wva", attainment=0.9, cost=5.0)]
    peer = [
        dataclasses.replace(kept(store, PUBLIC, "knative"), seeds=(seed,)) for seed in (1, 2, 3)
    ]
    for cell, attainment in zip(peer, (0.8, 1.0, 1.0), strict=True):
        store.keep(cell, [FIGURES | {"attainment": attainment, "cost": 4.0}], 1.0)
    ours.append(kept(store, PUBLIC, CLAIRVOYANT))
    results = Results.of(store, [Table("all", (*ours, *peer))])
    assert results.against(PUBLIC, "knative", "attainment") == (0.9, 0.8)
    assert results.mean(PUBLIC, "knative", "attainment").mean == pytest.approx(2.8 / 3)
    assert "dominated in 0 of 1" in render_page(results, seeds=3, settings={})


def test_without_any_run_the_page_claims_nothing(store):
    text = page(store, [Cell(scenario=PAPER, policy="wva", seeds=(1,))])
    assert "0 of 1 runs" in text
    assert "- *holds*" not in text
