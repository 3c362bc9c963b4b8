"""docs/proof.md from results: tables, claims with what became of them, and what is missing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.measures import Interval, interval

from .proof_cells import ABLATIONS, ROBUSTNESS, Store
from .proof_tables import CLAIRVOYANT, DAY, HEADLINE, PAPER, PUBLIC, VARIED, Table

__all__ = ["Results", "render_page"]

GOOD = 0.99
PAPER_ABOUT = """One model on two tiers of accelerators, 600 s, load beyond one tier
([scenario](../simulator/scenarios/paper-tiers.yaml)).
"""
RAMP_ABOUT = """llm-d's SLO-aware KEDA guide: Qwen3-32B, 2-4-6-8-10-4-1 requests/s
([scenario](../simulator/scenarios/public-ramp.yaml)). The published rows aren't reproduced within 2
points (keda-slo here against 95.8 % there), so only what is simulated side by side counts.
"""
CLAIRVOYANT_ABOUT = """The clairvoyant has the cheapest integer schedule for the true demand and pays
cold starts. A policy dominates ours with better attainment *and* lower cost.
"""
# Published of the ramp's KEDA loop: attainment and average replicas.
PUBLISHED = (0.958, 5.93)
COLUMNS = (
    ("attained", "attainment", ".1%"),
    ("worst 5 min", "worst_5_min", ".0%"),
    ("goodput, req/s", "goodput_rps", ".2f"),
    ("failed", "failed", ".0f"),
    ("TTFT p95, s", "ttft_p95_s", ".2f"),
    ("ITL p95, ms", "itl_p95_s", ".0f"),
    ("replicas", "replicas_mean", ".2f"),
    ("GPU h", "gpu_hours", ".2f"),
    ("cost", "cost", ".2f"),
    ("energy, kWh", "energy_kwh", ".2f"),
    ("actions", "actions", ".0f"),
)


@dataclass(frozen=True, slots=True)
class Results:
    """Figures of every seed by (scenario, label)."""

    figures: Mapping[tuple[str, str], tuple[Mapping[str, float], ...]]
    grid: Mapping[str, tuple[Mapping[str, float], ...]]
    made: int
    wanted: int

    @classmethod
    def of(cls, store: Store, every: Sequence[Table]) -> "Results":
        """Collect what there is."""
        figures: dict[tuple[str, str], tuple[Mapping[str, float], ...]] = {}
        grid: dict[str, tuple[Mapping[str, float], ...]] = {}
        cells = list(dict.fromkeys(cell for table in every for cell in table.cells))
        made = 0
        for cell in cells:
            found = store.find(cell)
            if found is None:
                continue
            made += 1
            if cell.setting:
                grid[cell.label] = (*grid.get(cell.label, ()), *found)
            else:
                key = (cell.scenario, cell.label)
                figures[key] = (*figures.get(key, ()), *found)
        return cls(figures, grid, made, len(cells))

    def scenarios(self) -> list[str]:
        """Return the scenarios with a run of ours, the headline ones first."""
        ours = [scenario for scenario, label in self.figures if label == "wva"]
        return list(dict.fromkeys([*(s for s in HEADLINE if s in ours), *sorted(ours)]))

    def labels(self, scenario: str) -> list[str]:
        """Return what ran in a scenario, without variations."""
        known = [label for name, label in self.figures if name == scenario]
        return [label for label in known if " [" not in label]

    def mean(self, scenario: str, label: str, figure: str) -> Interval:
        """Return a figure's mean and interval over seeds."""
        runs = self.figures.get((scenario, label), ())
        return interval(np.array([run[figure] for run in runs], dtype=np.float64))

    def seeds(self, scenario: str, label: str) -> int:
        """Return how many seeds there are."""
        return len(self.figures.get((scenario, label), ()))


def render_page(results: Results, *, seeds: int, settings: Mapping[str, str]) -> str:
    """Return the page."""
    parts = [
        _head(results, seeds, settings),
        _paper(results),
        _ramp(results),
        _against_clairvoyant(results),
        _varied(results, "4. Robustness", ROBUSTNESS, ROBUST),
        _varied(results, "5. Ablation", ABLATIONS, ABLATED),
        AUDIT,
        MINUTE,
        NOT_YET,
    ]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _head(results: Results, seeds: int, settings: Mapping[str, str]) -> str:
    hashes = ", ".join(f"{name} {value[:12]}" for name, value in settings.items())
    return f"""# Proof

Everything here is simulated time: the decision code of `wva serve` beside the policies that people
use, on the same requests, cluster and seed ([the model of the engines](model.md), [who the peers
are](peers.md)). Made by `make proof`, which runs what is missing and writes this page; it is not
edited by hand. Here: {results.made} of {results.wanted} runs, up to {seeds} seeds each. `±` is half
of a 95 % interval over seeds (Student's t). WVA runs with one set of settings: its defaults, and the
world as it is declared (SHA-256: {hashes}).

**What fails is said.** A claim is a line with *holds* or *fails* and its numbers.
"""


def _paper(results: Results) -> str:
    ours, base = (PAPER, "wva"), (PAPER, "hpa-kv")
    claims = []
    if ours in results.figures and base in results.figures:
        claims = [
            _paper_goodput(results, "hpa-kv"),
            _paper_failed(results, "hpa-kv"),
            _energy(results),
            *(_beats(results, PAPER, peer) for peer in ("wva-v1", "wva-v2", "hpa-queue")),
        ]
    best = _best_of_grid(results)
    return "\n".join(
        [
            "## 1. The paper's setting\n",
            PAPER_ABOUT,
            _command(PAPER, results),
            _table(results, PAPER),
            *claims,
            *best,
        ]
    )


def _paper_goodput(results: Results, peer: str) -> str:
    ours, theirs = (results.mean(PAPER, name, "goodput_rps").mean for name in ("wva", peer))
    hours, their_hours = (results.mean(PAPER, name, "gpu_hours").mean for name in ("wva", peer))
    good = ours >= 1.37 * theirs and hours <= their_hours
    text = (
        f"goodput {ours / theirs - 1.0:+.1%} against {peer} (wanted +37 %) at {hours:.2f} GPU hours "
        f"against {their_hours:.2f}"
    )
    return _claim(good, text)


def _paper_failed(results: Results, peer: str) -> str:
    ours, theirs = (results.mean(PAPER, name, "failed").mean for name in ("wva", peer))
    good = theirs > 0 and 10.0 * ours <= theirs
    text = f"{ours:.0f} failed requests against {theirs:.0f} of {peer} (wanted: a tenth)"
    return _claim(good, text)


def _energy(results: Results) -> str:
    ours, theirs = (results.mean(PAPER, name, "energy_kwh").mean for name in ("wva", "hpa-kv"))
    # Idle and full power are off by the same share for both, so the order doesn't depend on it.
    return _claim(ours < theirs, f"{ours:.2f} kWh against {theirs:.2f} of hpa-kv, ±20 % each")


def _beats(results: Results, scenario: str, peer: str) -> str:
    share, cost = (results.mean(scenario, "wva", f).mean for f in ("attainment", "cost"))
    theirs, price = (results.mean(scenario, peer, f).mean for f in ("attainment", "cost"))
    if math.isnan(theirs):
        return f"- not run: {peer}"
    text = f"against {peer}: {share:.1%} at {cost:.2f}, it {theirs:.1%} at {price:.2f}"
    return _claim(share >= theirs and cost <= price, text)


def _best_of_grid(results: Results) -> list[str]:
    if not results.grid:
        return []
    means = {
        label: tuple(float(np.mean([run[f] for run in runs])) for f in ("goodput_rps", "gpu_hours"))
        for label, runs in results.grid.items()
    }
    label, (goodput, hours) = max(means.items(), key=lambda item: item[1][0])
    told = (
        f"\nThe best of {len(means)} settings of hpa-kv, searched on other seeds: {label}, goodput "
        f"{goodput:.2f} requests/s at {hours:.2f} GPU hours (`wva replay {PAPER} --grid hpa-kv "
        "--first-seed 1001`).\n"
    )
    return [told]


def _ramp(results: Results) -> str:
    claims = []
    if (PUBLIC, "wva") in results.figures:
        share = results.mean(PUBLIC, "wva", "attainment").mean
        count = results.mean(PUBLIC, "wva", "replicas_mean").mean
        good = share > PUBLISHED[0] and count < PUBLISHED[1]
        claims = [
            _claim(good, f"{share:.1%} at {count:.2f} replicas (published: 95.8 % at 5.93)"),
            _claim(
                share >= 0.98 and count <= 5.0, f"the aim, 98 % at 5.0: {share:.1%} at {count:.2f}"
            ),
        ]
    return "\n".join(
        [
            "## 2. The public ramp\n",
            RAMP_ABOUT,
            _command(PUBLIC, results),
            _table(results, PUBLIC),
            *claims,
        ]
    )


def _against_clairvoyant(results: Results) -> str:
    rows = ["| scenario | seeds | wva | cost | clairvoyant | cost | cost ratio | dominated by |"]
    rows.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    reached = held = 0
    dominated = []
    for scenario in results.scenarios():
        share, cost = (results.mean(scenario, "wva", f).mean for f in ("attainment", "cost"))
        best, price = (results.mean(scenario, CLAIRVOYANT, f).mean for f in ("attainment", "cost"))
        by = _dominating(results, scenario, share, cost)
        dominated += [scenario] if by else []
        if best >= GOOD:
            reached += 1
            held += share >= GOOD and cost <= 1.2 * price
        rows.append(
            f"| {scenario} | {results.seeds(scenario, 'wva')} | {share:.1%} | {cost:.2f} | "
            f"{_text(best, '.1%')} | {_text(price, '.2f')} | {_text(cost / price, '.2f')} | "
            f"{', '.join(by) or '-'} |"
        )
    return "\n".join(
        [
            "## 3. Everywhere, against who knows the future\n",
            CLAIRVOYANT_ABOUT,
            "```sh\nwva replay SCENARIO --policy wva --policy clairvoyant --policy hpa-kv --seeds N\n```\n",
            *rows,
            "",
            *_everywhere_claims(results, held, reached, dominated),
        ]
    )


def _everywhere_claims(
    results: Results, held: int, reached: int, dominated: Sequence[str]
) -> list[str]:
    count = len(results.scenarios())
    if not reached:
        return ["- not run: the clairvoyant"]
    price = f"99 % at 1.20 times its cost in {held} of {reached} scenarios in which it reaches 99 %"
    names = f": {', '.join(dominated)}" if dominated else ""
    return [
        _claim(held == reached, price),
        _claim(not dominated, f"dominated in {len(dominated)} of {count}{names}"),
    ]


def _dominating(results: Results, scenario: str, share: float, cost: float) -> list[str]:
    return [
        label
        for label in results.labels(scenario)
        if label not in {"wva", CLAIRVOYANT}
        and results.mean(scenario, label, "attainment").mean > share
        and results.mean(scenario, label, "cost").mean < cost
    ]


ROBUST = "What readings and declarations may be wrong by. Wanted: at most 2 points of attainment."
ABLATED = "One mechanism off at a time, on the same seeds. A difference within its interval shows nothing."


def _varied(results: Results, title: str, variations: Mapping[str, object], about: str) -> str:
    rows = [
        "| variation | scenario | attained | difference, points | cost | worst seed | worst 5 min |"
    ]
    rows.append("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    worst = 0.0
    for variation in variations:
        for scenario in (*HEADLINE, *VARIED):
            label = f"wva [{variation}]"
            with_it = results.figures.get((scenario, "wva"), ())
            without = results.figures.get((scenario, label), ())
            pairs = list(zip(with_it, without, strict=False))
            if not pairs:
                continue
            change = interval(np.array([b["attainment"] - a["attainment"] for a, b in pairs]))
            worst = min(worst, change.mean)
            rows.append(
                f"| {variation} | {scenario} | {results.mean(scenario, label, 'attainment').mean:.1%}"
                f" | {_signed(change)} | {results.mean(scenario, label, 'cost').mean:.2f} | "
                f"{min(b['attainment'] for _, b in pairs):.1%} | "
                f"{min(b['worst_5_min'] for _, b in pairs):.0%} |"
            )
    lines = [f"## {title}\n", about + "\n", *rows, ""]
    if len(rows) == 2:
        lines.append("- not run")
    elif title.startswith("4"):
        lines.append(_claim(worst >= -0.02, f"the largest fall is {-100.0 * worst:.1f} points"))
    return "\n".join([*lines, "`python -m bench.proof --only robustness --only ablation`"])


def _signed(change: Interval) -> str:
    text = f"{100.0 * change.mean:+.1f}"
    return text if math.isnan(change.half_width) else f"{text} ±{100.0 * change.half_width:.1f}"


def _command(scenario: str, results: Results) -> str:
    policies = " ".join(f"--policy {label}" for label in results.labels(scenario))
    seeds = max((results.seeds(scenario, label) for label in results.labels(scenario)), default=1)
    return f"```sh\nwva replay {scenario} {policies} --seeds {seeds}\n```\n"


def _table(results: Results, scenario: str) -> str:
    if not results.labels(scenario):
        return "No run yet.\n"
    head = "| policy | seeds | " + " | ".join(heading for heading, _, _ in COLUMNS) + " |"
    rows = [head, "| --- | ---: " + "| ---: " * len(COLUMNS) + "|"]
    for label in results.labels(scenario):
        cells = []
        for _, figure, form in COLUMNS:
            value = results.mean(scenario, label, figure)
            scale = 1e3 if figure == "itl_p95_s" else 1.0
            cells.append(
                _cell(Interval(scale * value.mean, scale * value.half_width), figure, form)
            )
        rows.append(f"| {label} | {results.seeds(scenario, label)} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _cell(value: Interval, figure: str, form: str) -> str:
    if math.isnan(value.mean):
        return "-"
    text = format(value.mean, form)
    if figure in {"attainment", "cost", "replicas_mean"} and not math.isnan(value.half_width):
        return f"{text} ±{format(value.half_width, form).removesuffix('%')}"
    return text


def _text(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _claim(good: bool, text: str) -> str:
    return f"- {'*holds*' if good else '**fails**'}: {text}"


AUDIT = """## 6. From your own history

[`wva audit`](audit.md) reproduces the recorded past before it says anything. On an hour that a real
Prometheus holds of one workload behind an HPA, the law of the engines is found within 5 % (base) and
10 % (slopes), and requests, ITL, TTFT, attainment and the HPA's replicas are within what is allowed:

```sh
make test ARGS=tests/adapter/commands/audit
make e2e ARGS="-k audit"
```
"""

MINUTE = """## 7. A person's minute

```sh
wva replay public-ramp --policy wva --policy hpa-kv --policy keda-slo --seeds 1 --out report
```
"""

NOT_YET = f"""## Not shown

- The oracle that knows the true present, as a second bound for what nobody can foresee.
- Readings that are 15 s late, and cold starts that change while a scenario runs.
- Ablations without a switch: tail sizing, the KV bound, the fragmentation check, global allocation.
- The headline tables in the independent simulator, and a run on real engines.
- `{DAY}` where its rows are missing above: it takes longest and runs last.
"""
