import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from adapter.commands.replay_plots import Plots
from adapter.commands.replay_report import render_report
from adapter.commands.replay_svg import Axis, Chart, ticks
from simulator.closed_loop import play
from simulator.policies.table import BASELINES, BOUNDS
from simulator.summary import summarize

from ...simulator.replays import scenario


@pytest.fixture(scope="module")
def plots():
    one = scenario(duration_s=120.0)
    policies = {"static": BASELINES["static"].factory, "clairvoyant": BOUNDS["clairvoyant"][1](0.0)}
    results = {
        name: [summarize(play(one, name, factory, seed=seed, compiled=False)) for seed in (1, 2)]
        for name, factory in policies.items()
    }
    return Plots(scenario=one, results=results, frontier=[(0.5, 0.9), (1.0, 1.0)])


@pytest.fixture(scope="module")
def report(plots):
    return render_report(plots, seeds=[1, 2], settings_sha256="ab" * 32)


def test_the_report_is_one_file_that_needs_no_network(report):
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", report)
    assert "<script" not in report


def test_every_chart_is_sound_and_named(report):
    charts = re.findall(r"<svg.*?</svg>", report, flags=re.DOTALL)
    names = [ET.fromstring(chart).get("aria-label") for chart in charts]
    assert names == [
        "demand and capacity over time",
        "TTFT p95, s (log)",
        "ITL p95, s",
        "cost against attainment",
        "replicas under static",
        "replicas under clairvoyant",
    ]
    assert not re.search(r"\bnan\b", "".join(charts))


def test_the_best_of_each_row_stands_out(report, plots):
    row = re.search(r"<tr><th>cost</th>(.*?)</tr>", report).group(1)
    cells = re.findall(r"<td( class=best)?>([\d.]+)", row)
    costs = [np.mean([r.figures["cost"] for r in runs]) for runs in plots.results.values()]
    assert [float(text) for _, text in cells] == pytest.approx(costs, abs=0.005)
    assert [bool(best) for best, _ in cells] == [cost == min(costs) for cost in costs]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        pytest.param(0.0, 10.0, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0], id="whole"),
        pytest.param(0.0, 0.11, [0.0, 0.025, 0.05, 0.075, 0.1], id="parts"),
        pytest.param(3.0, 3.0, [3.0], id="nothing between"),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_a_gap_in_the_data_is_a_gap_in_the_line():
    chart = Chart(x=Axis(low=0.0, high=3.0), y=Axis(low=0.0, high=1.0))
    chart.line([0.0, 1.0, 2.0, 3.0], [0.5, float("nan"), 0.5, 1.0], "stroke:red")
    path = re.search(r'<path d="([^"]*)"', chart.svg("x")).group(1)
    assert path.count("M") == 2
    assert path.count("L") == 1


def test_a_logarithmic_axis_names_powers_of_ten():
    axis = Axis(low=0.05, high=50.0, log=True)
    assert axis.ticks() == pytest.approx([0.1, 1.0, 10.0])
    assert axis.part(0.05 * 1000.0**0.5) == pytest.approx(0.5)
