import numpy as np
import pytest
from pydantic import ValidationError

from optimizer.errors import InvalidInputError
from simulator.demand import draw_demand, rate_on_grid
from simulator.demand_spec import RateSpec, WorkloadSpec
from simulator.scenario import load_scenario, parse_scenario, shipped_scenarios

from .replays import model, scenario

PHASE = {"prompt": {"mean": 100, "cv": 0.5}, "output": {"mean": 50, "cv": 0.5}}


@pytest.mark.parametrize("name", shipped_scenarios())
def test_a_shipped_scenario_loads_under_its_name(name):
    one = load_scenario(name)
    assert one.name == name
    assert one.about


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("name: x\nnope: 1", "nope", id="unknown key"),
        pytest.param("[", "not YAML", id="no YAML"),
        pytest.param("name: x", "duration_s", id="missing key"),
    ],
)
def test_a_scenario_that_is_wrong_says_where(text, message):
    with pytest.raises(InvalidInputError, match=message):
        parse_scenario(text, origin="here")


def test_a_name_that_isnt_there_lists_those_that_are():
    with pytest.raises(InvalidInputError, match="public-ramp"):
        load_scenario("nowhere")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        pytest.param("steps", [1, 1, 3, 3], id="steps"),
        pytest.param("lines", [1, 2, 3, 3], id="lines"),
    ],
)
def test_a_rate_goes_through_its_points(shape, expected):
    rate = RateSpec(points=((0, 1), (10, 3)), shape=shape)
    assert rate_on_grid(rate, np.array([0.0, 5.0, 10.0, 20.0])).tolist() == expected


@pytest.mark.parametrize(
    "rate",
    [
        pytest.param({}, id="poisson"),
        pytest.param({"interval_cv": 3.0}, id="gamma"),
        pytest.param({"busy_factor": 5.0, "busy_s": 20.0, "quiet_s": 60.0}, id="modulated"),
    ],
)
def test_arrivals_keep_the_rate_on_average(rate):
    workload = WorkloadSpec(rate=RateSpec(points=((0, 5.0), (2000, 10.0)), **rate), phases=(PHASE,))
    counts = []
    for seed in range(20):
        requests = draw_demand(workload, np.random.default_rng(seed), end_s=4000.0).requests
        counts.append([(requests.arrival_s < 2000).sum(), (requests.arrival_s >= 2000).sum()])
        assert (np.diff(requests.arrival_s) >= 0).all()
    np.testing.assert_allclose(np.mean(counts, axis=0), [10_000, 20_000], rtol=0.06)


def test_the_true_rate_of_a_modulated_load_is_the_modulated_one():
    """What the bounds know is the rate that arrivals were drawn from, busy spells included."""
    rate = RateSpec(points=((0, 20.0),), busy_factor=5.0, busy_s=30.0, quiet_s=120.0)
    demand = draw_demand(
        WorkloadSpec(rate=rate, phases=(PHASE,)), np.random.default_rng(3), end_s=4000.0
    )
    came = np.bincount(demand.requests.arrival_s.astype(int), minlength=4000)[:4000]
    told = demand.rate_rps[:4000]
    assert sorted(set(np.round(told / told.min(), 6))) == [1.0, 5.0]
    for level in (told.min(), told.max()):
        assert came[told == level].mean() == pytest.approx(level, rel=0.1)


def test_lengths_change_with_the_phase():
    later = {
        "at_s": 500.0,
        "prompt": {"mean": 1000},
        "output": {"mean": 5},
        "prefix_hit_ratio": 0.5,
    }
    workload = WorkloadSpec(rate=RateSpec(points=((0, 2.0),)), phases=(PHASE, later))
    requests = draw_demand(workload, np.random.default_rng(1), end_s=1000.0).requests
    after = requests.arrival_s >= 500.0
    assert (requests.prompt_tokens[after] == 1000).all()
    assert (requests.cached_tokens[after] == 500).all()
    assert (requests.cached_tokens[~after] == 0).all()


def test_a_trace_can_be_thinned_and_thickened(tmp_path):
    path = tmp_path / "trace.csv"
    rows = "\n".join(f"{i},100,10" for i in range(1000))
    path.write_text(f"timestamp,input_tokens,output_tokens\n{rows}\n")
    for scale, expected in ((0.5, 500), (2.0, 2000)):
        workload = WorkloadSpec(trace=str(path), trace_scale=scale, phases=(PHASE,))
        got = draw_demand(workload, np.random.default_rng(1), end_s=2000.0)
        assert abs(len(got.requests.arrival_s) - expected) < 60


def test_a_led_in_scenario_is_the_same_later():
    drop = {"at_s": 30.0, "kind": "stock-out", "accelerator": "A", "until_s": 40.0}
    one = scenario(
        lead_in_s=100.0,
        events=[drop],
        models=[model(workload={"rate": {"points": [[0, 2], [20, 5]]}, "phases": [PHASE]})],
    )
    later = one.led_in()
    assert later.duration_s == 160.0
    assert later.events[0].at_s == 130.0
    assert later.events[0].until_s == 140.0
    assert later.models[0].workload.rate.points == ((0.0, 2.0), (100.0, 2.0), (120.0, 5.0))
    assert later.led_in() == later


def test_a_trace_has_no_lead_in(tmp_path):
    trace = {"trace": str(tmp_path / "trace.csv"), "phases": [PHASE]}
    with pytest.raises(ValidationError, match="lead_in_s: a trace"):
        scenario(lead_in_s=100.0, models=[model(workload=trace)])
