"""The four charts of a replay's report. The first seed is drawn; the table has the means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulator.reference import variant_capacity_rps
from simulator.scenario import Scenario
from simulator.summary import Summary

from .replay_svg import Axis, Chart
from .replay_table import intervals

__all__ = ["Plots", "color_of"]

# Okabe and Ito's palette, which people with any color vision can tell apart; ours is first.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C6D31")
SHADES = (1.0, 0.55, 0.3, 0.75)
MINUTE_S = 60.0
LABEL_GAP = 13.0


def color_of(policies: Sequence[str], policy: str) -> str:
    """Return a policy's color, the same in every chart."""
    return COLORS[policies.index(policy) % len(COLORS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plots:
    """What is drawn from: the scenario, runs by policy, and the clairvoyant's frontier."""

    scenario: Scenario
    results: Mapping[str, Sequence[Summary]]
    frontier: Sequence[tuple[float, float]]

    @property
    def policies(self) -> list[str]:
        """Names in the order of the table."""
        return list(self.results)

    def demand_and_capacity(self, model: int) -> str:
        """Draw what came, and what the ready replicas of each policy carry."""
        rows = [row for row, of in enumerate(self.scenario.model_of) if of == model]
        carried = {name: self._capacity(runs[0], rows) for name, runs in self.results.items()}
        first = next(iter(self.results.values()))[0]
        rate, width_s = first.rate_rps[model], first.window_s
        high = max([*rate, *(max(values) for values in carried.values())])
        chart = self._over_time(Axis(low=0.0, high=1.08 * high, label="requests/s"))
        at = [n * width_s / MINUTE_S for n in range(len(rate) + 1)]
        came = [*rate, rate[-1]]
        chart.band(at, [0.0] * len(came), came, "fill:#C9CED6;opacity:.65")
        for name, values in carried.items():
            chart.steps(self._minutes(self.results[name][0]), values, self._stroke(name))
        return chart.svg("demand and capacity over time")

    def replicas(self, policy: str) -> str:
        """Draw one policy's ready replicas, stacked by variant, and what was asked for."""
        run = self.results[policy][0]
        most = max(max(map(sum, zip(*r.wanted, strict=True))) for r in self._firsts())
        chart = self._over_time(
            Axis(low=0.0, high=1.08 * max(most, 1), label="replicas"), height=170.0, width=424.0
        )
        at, below = self._minutes(run), [0.0] * len(run.at_s)
        for row, ready in enumerate(run.ready):
            above = [low + count for low, count in zip(below, ready, strict=True)]
            shade = SHADES[row % len(SHADES)]
            color = color_of(self.policies, policy)
            chart.band(at, below, above, f"fill:{color};opacity:{0.75 * shade}")
            below = above
        wanted = [float(sum(column)) for column in zip(*run.wanted, strict=True)]
        chart.steps(at, wanted, "stroke:#222;stroke-width:1.2;stroke-dasharray:4 2")
        return chart.svg(f"replicas under {policy}")

    def latency(self, model: int, name: str) -> str:
        """Draw the 95th percentile per minute of `ttft_p95_s` or `itl_p95_s` against its target."""
        spec = self.scenario.models[model]
        target_s = spec.ttft_s if name == "ttft_p95_s" else spec.itl_s
        values = [v for run in self._firsts() for v in getattr(run, name)[model] if v > 0.0]
        low, high = min([*values, target_s]), max([*values, target_s])
        words = "TTFT p95, s (log)" if name == "ttft_p95_s" else "ITL p95, s"
        log = name == "ttft_p95_s"
        axis = Axis(low=low / 1.3 if log else 0.0, high=1.3 * high, label=words, log=log)
        chart = self._over_time(axis, height=220.0)
        for policy, runs in self.results.items():
            line = getattr(runs[0], name)[model]
            at = [(n + 0.5) * runs[0].window_s / MINUTE_S for n in range(len(line))]
            chart.line(at, line, self._stroke(policy))
        chart.level(target_s, f"target {target_s:g} s")
        return chart.svg(words)

    def cost_and_attainment(self) -> str:
        """Draw every policy's cost against its attainment, and the clairvoyant's frontier."""
        figures = {name: intervals(runs) for name, runs in self.results.items()}
        costs = [one["cost"].mean for one in figures.values()]
        shares = [100.0 * one["attainment"].mean for one in figures.values()]
        costs += [cost for cost, _ in self.frontier]
        low, high = min(costs), max(costs)
        gap = 0.12 * (high - low) or 1.0
        floor = max(0.0, min([*shares, 98.0]) - 3.0)
        chart = Chart(
            x=Axis(low=max(low - gap, 0.0), high=high + 1.6 * gap, label="cost of the run"),
            y=Axis(low=floor, high=100.5, label="attainment, %"),
            height=330.0,
        )
        if self.frontier:
            curve = sorted(self.frontier)
            chart.line(
                [cost for cost, _ in curve],
                [100.0 * share for _, share in curve],
                "stroke:#222;stroke-width:1.3;stroke-dasharray:2 3",
            )
        means = {name: (one["cost"], one["attainment"]) for name, one in figures.items()}
        for name, (cost, share) in means.items():
            chart.point(
                cost.mean,
                100.0 * share.mean,
                color=color_of(self.policies, name),
                label=f"{name}: {share.mean:.1%} at {cost.mean:.2f}",
                bars=(cost.half_width, 100.0 * share.half_width),
            )
        taken: list[tuple[float, float]] = []
        for name, (cost, share) in means.items():
            dy = _apart(chart.place(cost.mean, 100.0 * share.mean), taken)
            chart.text(cost.mean, 100.0 * share.mean, name, dx=8.0, dy=dy)
        return chart.svg("cost against attainment")

    def _firsts(self) -> list[Summary]:
        return [runs[0] for runs in self.results.values()]

    def _capacity(self, run: Summary, rows: Sequence[int]) -> list[float]:
        values = []
        for place, at_s in enumerate(run.at_s):
            each = [variant_capacity_rps(self.scenario, row, at_s=at_s) for row in rows]
            ready = [run.ready[row][place] for row in rows]
            values.append(sum(n * c for n, c in zip(ready, each, strict=True)))
        return values

    def _over_time(self, y: Axis, *, height: float = 260.0, width: float = 860.0) -> Chart:
        end = self.scenario.duration_s / MINUTE_S
        return Chart(x=Axis(low=0.0, high=end, label="minutes"), y=y, height=height, width=width)

    def _minutes(self, run: Summary) -> list[float]:
        return [at_s / MINUTE_S for at_s in run.at_s]

    def _stroke(self, policy: str) -> str:
        width = 2.6 if policy == self.policies[0] else 1.5
        return f"stroke:{color_of(self.policies, policy)};stroke-width:{width}"


def _apart(at: tuple[float, float], taken: list[tuple[float, float]]) -> float:
    """Return how far below its point a label goes so that it covers none before it."""
    for dy in (4.0, -9.0, 17.0, -22.0, 30.0, -35.0, 43.0):
        spot = (at[0], at[1] + dy)
        if all(abs(spot[0] - x) > 110.0 or abs(spot[1] - y) >= LABEL_GAP - 1 for x, y in taken):
            taken.append(spot)
            return dy
    return 4.0
