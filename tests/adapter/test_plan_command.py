"""`wva plan`: who gets what, what-ifs, and what a fault in the file says."""

import json
from pathlib import Path

import pytest

from adapter.cli import main

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def planned(capsys, name: str, *arguments: str) -> dict:
    assert main(["plan", str(EXAMPLES / name), "--json", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    found["by"] = {row["variant"].partition("/")[2]: row for row in found["variants"]}
    return found


def test_each_variant_says_what_it_gets_and_why(capsys):
    found = planned(capsys, "heterogeneous.yaml")
    row = found["by"]["llama-8b-l40s"]
    assert row["replicas"] > 0
    assert row["binding"] == "Demand"
    assert row["reason"]
    assert row["cost_per_hour"] == pytest.approx(1.20 * row["replicas"])
    assert 0 < row["ttft_s"]["p50"] < row["ttft_s"]["slo"] <= 0.5
    assert 0 < row["itl_s"]["p50"] < row["itl_s"]["slo"] <= 0.04
    assert 0 <= row["headroom_ratio"] < 1
    assert found["unmet"] == {}


def test_under_scarcity_higher_classes_are_whole_and_offline_work_fills_what_is_left(capsys):
    found = planned(capsys, "scarcity.yaml")
    assert found["resources"] == [{"name": "H100", "used": 12.0, "capacity": 12.0}]
    assert list(found["unmet"]) == ["default/nightly"]
    assert found["by"]["nightly"]["replicas"] > 0
    assert found["by"]["nightly"]["binding"] == "Priority"


def test_classes_give_way_from_the_lowest_up(capsys):
    before = None
    for count in (12, 8, 6, 4, 2):
        found = planned(capsys, "scarcity.yaml", "--capacity", f"H100={count}")
        short = [found["by"][n]["unmet_ratio"] > 0 for n in ("chat", "assistant", "playground")]
        assert short == sorted(short), "a class is short while a lower one isn't"
        assert found["resources"][0]["used"] <= count
        lost = [found["by"][n]["unmet_ratio"] for n in ("chat", "assistant", "playground")]
        assert before is None or all(a >= b for a, b in zip(lost, before, strict=True))
        before = lost


def test_offline_work_costs_online_work_nothing(capsys):
    with_batch = planned(capsys, "scarcity.yaml", "--capacity", "H100=6")
    without = planned(capsys, "scarcity.yaml", "--capacity", "H100=6", "--demand", "nightly=0")
    for name in ("chat", "assistant", "playground"):
        assert with_batch["by"][name]["unmet_ratio"] <= without["by"][name]["unmet_ratio"] + 1e-9


def test_more_demand_buys_no_less(capsys):
    little = planned(capsys, "heterogeneous.yaml")
    much = planned(capsys, "heterogeneous.yaml", "--demand", "llama-3.1-8b=+50%")
    assert much["cost_per_hour"] > little["cost_per_hour"]


def test_a_tighter_target_costs_no_less(capsys):
    costs = [
        planned(capsys, "heterogeneous.yaml", "--slo", f"premium.itl_ms={itl}")["cost_per_hour"]
        for itl in (60, 40, 30, 25)
    ]
    assert costs == sorted(costs)


def test_what_there_is_less_of_moves_demand_to_another_type(capsys):
    found = planned(capsys, "heterogeneous.yaml", "--capacity", "H100=8")
    assert found["by"]["llama-8b-h100"]["replicas"] == 0
    assert found["by"]["llama-8b-l40s"]["replicas"] > 2
    assert found["unmet"] == {}


def test_energy_has_a_price(tmp_path, capsys):
    text = (EXAMPLES / "heterogeneous.yaml").read_text()
    hungry = text.replace("{idle: 120, full: 700}", "{idle: 1200, full: 7000}")
    assert hungry != text
    counts = []
    for price in (0, 0.3, 2):
        file = tmp_path / "energy.yaml"
        file.write_text(f"energy_price_per_kwh: {price}\n{hungry}")
        found = planned(capsys, str(file))
        assert found["unmet"] == {}
        counts.append((found["by"]["llama-8b-h100"]["replicas"], found["power_w"]))
    assert counts[0][0] > counts[-1][0] == 0
    assert [power for _, power in counts] == sorted((p for _, p in counts), reverse=True)


PREFILL = ("documents-prefill-h100", "documents-prefill-l40s")


def carried(found: dict, names) -> float:
    rows = [found["by"][name] for name in names]
    return sum(row["replicas"] * (row["capacity_rps"] or 0.0) for row in rows)


def test_prefill_and_decode_grow_together(capsys):
    little = planned(capsys, "disaggregated.yaml")
    much = planned(capsys, "disaggregated.yaml", "--demand", "documents=+100%")
    for names in (PREFILL, ("documents-decode-h100",)):
        assert carried(little, names) >= 30
        assert carried(much, names) >= 60
    prefill, decode = (little["by"][n] for n in ("documents-prefill-h100", "documents-decode-h100"))
    assert 0 < prefill["ttft_s"]["p50"] < prefill["ttft_s"]["slo"] <= 1.0
    assert 0 < decode["itl_s"]["p50"] < decode["itl_s"]["slo"] <= 0.04


def test_prefill_has_no_gaps_between_tokens(capsys):
    found = planned(capsys, "disaggregated.yaml")
    assert found["by"]["documents-prefill-h100"]["itl_s"] == {"p50": None, "slo": None}
    assert main(["plan", str(EXAMPLES / "disaggregated.yaml")]) == 0
    (line,) = [row for row in capsys.readouterr().out.splitlines() if "prefill-h100" in row]
    assert line.split()[-2:] == ["-", "-"]


def test_roles_are_short_together(capsys):
    capacity = ("--capacity", "H100=3", "--capacity", "L40S=0")
    found = planned(capsys, "disaggregated.yaml", *capacity)
    assert found["by"]["documents-prefill-h100"]["replicas"] == 2
    assert found["by"]["documents-decode-h100"]["replicas"] == 1
    assert found["unmet"]["default/documents"] > 0


def test_a_role_that_is_held_holds_the_other(tmp_path, capsys):
    text = (EXAMPLES / "disaggregated.yaml").read_text()
    text = text.replace(
        "accelerator: H100, role: prefill, max_replicas: 30",
        "accelerator: H100, role: prefill, max_replicas: 1",
    )
    text = text.replace(
        "accelerator: L40S, role: prefill, min_replicas: 0, max_replicas: 30",
        "accelerator: L40S, role: prefill, min_replicas: 0, max_replicas: 1",
    )
    file = tmp_path / "held.yaml"
    file.write_text(text)
    found = planned(capsys, str(file))
    assert found["by"]["documents-decode-h100"]["replicas"] == 1
    assert found["by"]["documents-prefill-h100"]["binding"] == "MaxReplicas"
    assert found["unmet"]["default/documents"] > 0.5


def test_a_model_with_one_role_only_is_refused(tmp_path, capsys):
    text = (EXAMPLES / "disaggregated.yaml").read_text().replace("role: decode", "role: both")
    file = tmp_path / "roles.yaml"
    file.write_text(text)
    assert main(["plan", str(file)]) == 2
    assert "some prefill and some decode" in capsys.readouterr().err


def test_the_table_names_every_variant_and_resource(capsys):
    assert main(["plan", str(EXAMPLES / "scarcity.yaml")]) == 0
    text = capsys.readouterr().out
    for word in ("default/chat", "premium", "Priority", "H100: 12 of 12 used", "per hour"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--demand", "llama=+50%"], "no demand for 'llama'", id="unknown-model"),
        pytest.param(["--demand", "llama-3.1-8b=lots"], "expected +50%", id="no-number"),
        pytest.param(["--demand", "llama-3.1-8b=-150%"], "0 or more", id="negative"),
        pytest.param(["--capacity", "B200=8"], "'B200' is not declared", id="unknown-type"),
        pytest.param(["--capacity", "H100=many"], "whole number", id="no-count"),
        pytest.param(["--slo", "gold.ttft_ms=1"], "premium, standard", id="unknown-class"),
        pytest.param(["--slo", "premium.ttft_ms=fast"], "'fast' is not a number", id="no-target"),
        pytest.param(["--slo", "premium.tpot_ms=9"], "tpot_ms", id="unknown-target"),
        pytest.param(["--capacity", "H100"], "NAME=VALUE", id="no-value"),
    ],
)
def test_a_wrong_what_if_is_named(arguments, message, capsys):
    assert main(["plan", str(EXAMPLES / "heterogeneous.yaml"), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[]", "expected a mapping", id="no-mapping"),
        pytest.param("demand: {m: {arrival_rate_rps: 1}}", "no variant serves", id="unserved"),
        pytest.param("demand: 3", "must be a mapping", id="demand-no-mapping"),
        pytest.param("a: [", "is not YAML", id="no-yaml"),
    ],
)
def test_a_fault_in_the_file_is_named(text, message, tmp_path, capsys):
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    assert main(["plan", str(file)]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_absent_is_named(tmp_path, capsys):
    assert main(["plan", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


def routed(tmp_path, law):
    text = (EXAMPLES / "heterogeneous.yaml").read_text()
    assert text.count("llama-3.1-8b:\n") == 1
    file = tmp_path / f"{law}.yaml"
    file.write_text(text.replace("llama-3.1-8b:\n", f"llama-3.1-8b:\n    routing: {law}\n", 1))
    return file


def test_behind_a_router_of_equal_shares_a_slow_type_is_left_out_and_told(tmp_path, capsys):
    capacity = planned(capsys, str(routed(tmp_path, "least_loaded")))
    assert all(capacity["by"][name]["replicas"] for name in ("llama-8b-h100", "llama-8b-l40s"))
    equal = planned(capsys, str(routed(tmp_path, "equal_per_replica")))
    assert equal["by"]["llama-8b-h100"]["replicas"] > 1
    assert equal["by"]["llama-8b-l40s"]["replicas"] == 0
    assert equal["by"]["llama-8b-l40s"]["routing"].startswith(
        "equal_per_replica (declared): left out"
    )
    assert equal["cost_per_hour"] > capacity["cost_per_hour"]
    main(["plan", str(routed(tmp_path, "equal_per_replica"))])
    assert "llama-8b-l40s: equal_per_replica (declared): left out" in capsys.readouterr().out
