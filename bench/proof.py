"""The proof: scenarios x policies x seeds, into docs/proof.md.

    python -m bench.proof --seeds 10 --jobs 2

Hours of simulated clusters; every run is written when it ends, so an interrupted proof goes on
where it stopped. `--render` writes the page from what there is. `make bench` has a short form,
bench.proof_short.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from adapter.commands.replay import settings_sha256
from simulator.scenario import load_scenario

from .proof_cells import FOLDER, ROOT, Cell, Store, code_sha256, run_cell
from .proof_figures import Results
from .proof_page import render_page
from .proof_referee import render_referee
from .proof_tables import HEADLINE, Table, tables

__all__ = ["completed"]

PAGE = ROOT / "docs" / "proof.md"


def main() -> None:
    """Run what isn't there yet, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each run (default 10)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at once")
    parser.add_argument("--only", action="append", metavar="TABLE", help="may be repeated")
    parser.add_argument("--minutes", type=float, help="start no run after so many")
    parser.add_argument("--render", action="store_true", help="only write the page")
    options = parser.parse_args()
    store = Store(FOLDER, code_sha256())
    chosen = [t for t in tables(options.seeds) if not options.only or t.name in options.only]
    if not chosen:
        parser.error(f"--only: there are {', '.join(t.name for t in tables(1))}")
    if not options.render:
        _run(store, chosen, jobs=options.jobs, minutes=options.minutes)
    results = Results.of(store, tables(options.seeds))
    hashes = {name: settings_sha256(load_scenario(name)) for name in HEADLINE}
    made_of = (
        f"\nCode of these runs (decisions, simulator, scenarios): SHA-256 {store.sha256[:12]}.\n"
    )
    page = render_page(results, seeds=options.seeds, settings=hashes) + render_referee() + made_of
    PAGE.write_text(page, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {results.made} of {results.wanted} runs")


def _run(store: Store, chosen: Sequence[Table], *, jobs: int, minutes: float | None) -> None:
    cells = list(dict.fromkeys(cell for table in chosen for cell in table.cells))
    missing = [cell for cell in cells if store.find(cell) is None]
    print(f"{len(missing)} of {len(cells)} runs to make, {jobs} at once", flush=True)
    began = time.monotonic()
    for done, (cell, figures, took_s) in enumerate(completed(missing, jobs, minutes), start=1):
        store.keep(cell, figures, took_s)
        passed = time.monotonic() - began
        left = passed / done * (len(missing) - done)
        attained = sum(each["attainment"] for each in figures) / len(figures)
        print(
            f"{done:5d}/{len(missing)}  {left / 60.0:5.0f} min left  {cell.scenario:24} "
            f"{cell.label:44} {attained:6.1%}  ({took_s:.0f} s)",
            flush=True,
        )


def completed(
    cells: Sequence[Cell], jobs: int, minutes: float | None
) -> Iterator[tuple[Cell, list[dict[str, float]], float]]:
    """Run cells in their order, a few at once; none is begun after the time is over."""
    end_s = time.monotonic() + 60.0 * (minutes if minutes is not None else 1e9)
    waiting = iter(cells)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(jobs, 1), mp_context=context) as pool:
        running = {
            pool.submit(run_cell, cell): cell
            for _, cell in zip(range(max(jobs, 1)), waiting, strict=False)
        }
        while running:
            future = next(as_completed(running))
            cell = running.pop(future)
            figures, took_s = future.result()
            if time.monotonic() < end_s:
                following = next(waiting, None)
                if following is not None:
                    running[pool.submit(run_cell, following)] = following
            yield cell, figures, took_s


if __name__ == "__main__":
    main()
