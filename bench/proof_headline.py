"""Sections 1 and 2 of docs/proof.md: the paper's setting and the public ramp."""

import math

from .proof_figures import Results, best_of_grid
from .proof_format import claim, command, table
from .proof_tables import PAPER, PUBLIC

__all__ = ["paper_section", "ramp_section"]

PAPER_ABOUT = """One model on two tiers of accelerators, 600 s, load beyond one tier
([scenario](../simulator/scenarios/paper-tiers.yaml)).
"""
RAMP_ABOUT = """llm-d's SLO-aware KEDA guide: Qwen3-32B, 2-4-6-8-10-4-1 requests/s
([scenario](../simulator/scenarios/public-ramp.yaml)).

Published: static 8 100 %, the loop 95.8 % at 5.93 replicas, 84.7 % on means. Reproduced are static
and the replicas, not the loop's attainment, so only what is simulated side by side counts. Two ways
were tried. With the timing law as measured (aiconfigurator) and KV memory at 0.9 of the GPU, a replica
carries 1.3 requests/s, and the loop attains 78 % at 5.7. With the law scaled so that the loop's own
threshold (0.55) is met at the published 1.4 to 1.5 requests/s and KV memory at 0.95 (332,000 tokens) or
beyond (400,000), it attains 78 to 80 % and 85 to 88 % at 5.5 to 5.7, on means 75 to 82 %; six seeds. What
decides is how early TTFT or TPOT rises before KV memory is full, which isn't published: of the laws tried by
hand, one 20 % slower with 400,000 tokens gives 98.6 % at 6.1, but isn't set by what is known.
"""
# Published of the ramp's KEDA loop: attainment and average replicas.
PUBLISHED = (0.958, 5.93)


def paper_section(results: Results) -> str:
    ours, base = (PAPER, "wva"), (PAPER, "hpa-kv")
    claims = []
    tuned = best_of_grid("hpa-kv")
    peers = ("hpa-kv", tuned) if (PAPER, tuned) in results.figures else ("hpa-kv",)
    if ours in results.figures and base in results.figures:
        claims = [
            *(_paper_goodput(results, peer) for peer in peers),
            *(_paper_failed(results, peer) for peer in peers),
            _energy(results),
            *(_beats(results, PAPER, peer) for peer in ("wva-v1", "wva-v2", "hpa-queue")),
        ]
    return "\n".join(
        [
            "## 1. The paper's setting\n",
            PAPER_ABOUT,
            command(PAPER, results),
            table(results, PAPER),
            *claims,
            *_searched(results, PAPER),
        ]
    )


def _paper_goodput(results: Results, peer: str) -> str:
    ours, theirs = results.against(PAPER, peer, "goodput_rps")
    hours, their_hours = results.against(PAPER, peer, "gpu_hours")
    good = ours >= 1.37 * theirs and hours <= their_hours
    text = (
        f"goodput {ours / theirs - 1.0:+.1%} against {peer} (wanted +37 %) at {hours:.2f} GPU hours "
        f"against {their_hours:.2f}"
    )
    return claim(good, text)


def _paper_failed(results: Results, peer: str) -> str:
    ours, theirs = results.against(PAPER, peer, "failed")
    good = theirs > 0 and 10.0 * ours <= theirs
    text = f"{ours:.0f} failed requests against {theirs:.0f} of {peer} (wanted: a tenth)"
    return claim(good, text)


def _energy(results: Results) -> str:
    ours, theirs = results.against(PAPER, "hpa-kv", "energy_kwh")
    # Idle and full power are off by the same share for both, so the order doesn't depend on it.
    return claim(ours < theirs, f"{ours:.2f} kWh against {theirs:.2f} of hpa-kv, ±20 % each")


def _beats(results: Results, scenario: str, peer: str) -> str:
    share, theirs = results.against(scenario, peer, "attainment")
    cost, price = results.against(scenario, peer, "cost")
    if math.isnan(theirs):
        return f"- not run: {peer}"
    text = f"against {peer}: {share:.1%} at {cost:.2f}, it {theirs:.1%} at {price:.2f}"
    return claim(share >= theirs and cost <= price, text)


def _searched(results: Results, scenario: str) -> list[str]:
    """Say which settings won their grids, and whether ours is better than each."""
    found = [(policy, value) for (name, policy), value in results.tuned.items() if name == scenario]
    if not found:
        return []
    told = ", ".join(f"{policy} with {setting}" for policy, setting in found)
    return [
        *(_beats(results, scenario, best_of_grid(policy)) for policy, _ in found),
        (
            f"\nBest of their grids, searched on other seeds (`wva replay {scenario} --grid POLICY "
            f"--seeds 3 --first-seed 1001`): {told}.\n"
        ),
    ]


def ramp_section(results: Results) -> str:
    claims = []
    if (PUBLIC, "wva") in results.figures:
        share = results.mean(PUBLIC, "wva", "attainment").mean
        count = results.mean(PUBLIC, "wva", "replicas_mean").mean
        good = share > PUBLISHED[0] and count < PUBLISHED[1]
        claims = [
            claim(good, f"{share:.1%} at {count:.2f} replicas (published: 95.8 % at 5.93)"),
            claim(
                share >= 0.98 and count <= 5.0, f"the aim, 98 % at 5.0: {share:.1%} at {count:.2f}"
            ),
        ]
    return "\n".join(
        [
            "## 2. The public ramp\n",
            RAMP_ABOUT,
            command(PUBLIC, results),
            table(results, PUBLIC),
            *claims,
            *_searched(results, PUBLIC),
        ]
    )
