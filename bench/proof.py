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

from .proof_cells import FOLDER, ROOT, Cell, Store, run_cell, same_run
from .proof_figures import Results
from .proof_page import render_page
from .proof_referee import render_referee
from .proof_tables import HEADLINE, Table, best_settings, tables

__all__ = ["cells_of", "completed"]

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
PAGE = ROOT / "docs" / "proof.md"


def main() -> None:
    """Run what isn't there yet, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each run (default 10)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at once")
    parser.add_argument("--only", action="append", metavar="TABLE", help="may be repeated")
    parser.add_argument(
        "--policies",
        choices=("ours", "baselines"),
        help="only runs of WVA, or only of the others: those stay valid while WVA changes",
    )
    parser.add_argument("--minutes", type=float, help="start no run after so many")
    parser.add_argument("--render", action="store_true", help="only write the page")
    options = parser.parse_args()
    store = Store(FOLDER)
    if unknown := set(options.only or ()) - {table.name for table in tables(1)}:
        parser.error(
            f"--only {', '.join(unknown)}: there are {', '.join(t.name for t in tables(1))}"
        )
    began = time.monotonic()
    if not options.render:
        os.environ.update(ONE_THREAD)  # a run is one process; its arrays are small
        # What the grids' search finds is only known after the first pass.
        for _ in range(2):
            chosen = [
                table
                for table in tables(options.seeds, best_settings(store))
                if not options.only or table.name in options.only
            ]
            left = None
            if options.minutes is not None:
                left = options.minutes - (time.monotonic() - began) / 60.0
            _run(store, cells_of(chosen, options.policies), jobs=options.jobs, minutes=left)
    results = Results.of(store, tables(options.seeds, best_settings(store)))
    hashes = {name: settings_sha256(load_scenario(name)) for name in HEADLINE}
    page = render_page(results, seeds=options.seeds, settings=hashes) + render_referee()
    PAGE.write_text(page, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {results.made} of {results.wanted} runs")


def cells_of(chosen: Sequence[Table], policies: str | None) -> list[Cell]:
    """Return the tables' runs, each once, of these policies; of all for None."""
    cells = dict.fromkeys(same_run(cell) for table in chosen for cell in table.cells)
    return [cell for cell in cells if policies in (None, "ours" if cell.ours else "baselines")]


def _run(store: Store, cells: Sequence[Cell], *, jobs: int, minutes: float | None) -> None:
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
