"""Jobs done at once, each in a process of its own."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

__all__ = ["completed"]

Job = TypeVar("Job")
Result = TypeVar("Result")


def completed(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[int, Result]]:
    """Yield the place of each job and its result, as they come; one worker needs no process."""
    if workers <= 1 or len(jobs) == 1:
        yield from ((at, work(job)) for at, job in enumerate(jobs))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        futures = {pool.submit(work, job): at for at, job in enumerate(jobs)}
        for future in as_completed(futures):
            yield futures[future], future.result()
