"""Sections 3 to 5 of docs/proof.md: all scenarios, and what happens to ours under variations."""

from collections.abc import Mapping, Sequence

import numpy as np

from simulator.measures import interval

from .proof_figures import Results
from .proof_format import claim, signed, text_of
from .proof_tables import CLAIRVOYANT, HEADLINE, ORACLE, VARIED

__all__ = ["everywhere_section", "varied_section"]

GOOD = 0.99
CLAIRVOYANT_ABOUT = """The clairvoyant has the cheapest integer schedule for the true demand and pays
cold starts. The oracle knows the true present, with the same delays as everybody: the bound for
what nobody can foresee. A policy dominates ours with better attainment *and* lower cost.
"""


def everywhere_section(results: Results) -> str:
    rows = [
        "| scenario | seeds | wva | cost | clairvoyant | cost | cost ratio | oracle | cost | dominated by |"
    ]
    rows.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    reached = held = 0
    dominated = []
    for scenario in results.scenarios():
        share, cost = (results.mean(scenario, "wva", f).mean for f in ("attainment", "cost"))
        own, best = results.against(scenario, CLAIRVOYANT, "attainment")
        spent, price = results.against(scenario, CLAIRVOYANT, "cost")
        now, now_cost = (results.mean(scenario, ORACLE, f).mean for f in ("attainment", "cost"))
        by = _dominating(results, scenario)
        dominated += [scenario] if by else []
        if best >= GOOD:
            reached += 1
            held += own >= GOOD and spent <= 1.2 * price
        rows.append(
            f"| {scenario} | {results.seeds(scenario, 'wva')} | {share:.1%} | {cost:.2f} | "
            f"{text_of(best, '.1%')} | {text_of(price, '.2f')} | {text_of(spent / price, '.2f')} | "
            f"{text_of(now, '.1%')} | {text_of(now_cost, '.2f')} | "
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
        claim(held == reached, price),
        claim(not dominated, f"dominated in {len(dominated)} of {count}{names}"),
    ]


def _dominating(results: Results, scenario: str) -> list[str]:
    def dominates(label: str) -> bool:
        share, theirs = results.against(scenario, label, "attainment")
        cost, price = results.against(scenario, label, "cost")
        return theirs > share and price < cost

    peers = set(results.labels(scenario)) - {"wva", "wva-keda", CLAIRVOYANT, ORACLE}
    return [label for label in results.labels(scenario) if label in peers and dominates(label)]


def varied_section(
    results: Results, title: str, variations: Mapping[str, object], about: str
) -> str:
    rows = [
        "| variation | scenario | attained | difference, points | cost | worst seed | worst 5 min |"
    ]
    rows.append("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    worst = 0.0
    for variation in variations:
        for scenario in (*HEADLINE, *VARIED):
            label = f"wva [{variation}]"
            pairs = results.paired(scenario, "wva", label)
            if not pairs:
                continue
            change = interval(np.array([b["attainment"] - a["attainment"] for a, b in pairs]))
            worst = min(worst, change.mean)
            rows.append(
                f"| {variation} | {scenario} | {results.mean(scenario, label, 'attainment').mean:.1%}"
                f" | {signed(change)} | {results.mean(scenario, label, 'cost').mean:.2f} | "
                f"{min(b['attainment'] for _, b in pairs):.1%} | "
                f"{min(b['worst_5_min'] for _, b in pairs):.0%} |"
            )
    lines = [f"## {title}\n", about + "\n", *rows, ""]
    if len(rows) == 2:
        lines.append("- not run")
    elif title.startswith("4"):
        lines.append(claim(worst >= -0.02, f"the largest fall is {-100.0 * worst:.1f} points"))
    return "\n".join([*lines, "`python -m bench.proof --only robustness --only ablation`"])
