"""Work on tables, on all cores of this machine."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

import benchmarks

T = TypeVar("T")

opened = functools.cache(benchmarks.load)
"""A table, opened once for all that a process does with it."""


def _serve() -> None:
    """Leaves it to the process that started this one when work ends, and ends with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "it was started by another"

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()


def on_all_cores(
    work: Callable[..., T], jobs: Mapping[int, tuple[Any, ...]], processes: int | None
) -> Iterator[tuple[int, T]]:
    """Each job's place and what came of it, in the order of their ends.

    Args:
        work: a function of a module, which other processes import.
        jobs: its arguments, by place.
        processes: default: one a core. With one, all work is done in this process; with more, a script needs the usual
            `if __name__ == "__main__":`, as each process imports it.
    """
    processes = min(processes or os.cpu_count() or 1, len(jobs))
    if processes <= 1:
        opened.cache_clear()  # as a file may have been written anew
        for place, job in jobs.items():
            yield place, work(*job)
        return
    # Spawned, as forking a process with threads may hang it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_serve) as pool:
        waiting = {pool.submit(work, *job): place for place, job in jobs.items()}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
