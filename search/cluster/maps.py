"""Parallel maps: over the cores of this machine, or of a Ray cluster."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from hybridtune.data.parallel import ParallelMap
from hybridtune.data.schema import InputError
from hybridtune.search.cluster.joined_ray import joined_ray

AHEAD = 8
"""Items of a parallel map that are started ahead, for each core: enough to keep it busy, few enough to hold."""


def cores() -> int:
    """Cores that this process may use."""
    # macOS has no such sets.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def process_map(processes: int) -> Iterator[ParallelMap]:
    """A parallel map over this machine's cores. Raises InputError if one of its processes is killed."""
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_end_with_parent)

    def start(function: Callable[[Any], Any], item: Any) -> Future[Any]:
        # The pool's processes start here and inherit that SIGINT is blocked: Ctrl-C reaches every process of a
        # terminal, and this one alone is to answer.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return pool.submit(function, item)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield lambda function, items: _in_order(partial(start, function), Future.result, items, AHEAD * processes)
    except BrokenProcessPool:
        raise InputError(
            "a worker process was killed, most likely for want of memory: free some, take very large files away, or "
            "use fewer cores (taskset -c 0 hybridtune ...)"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """A parent that is killed outright tells nobody. Its workers hold the pipe that multiprocessing's resource tracker
    waits on, so the tracker ends with them.
    """
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def ray_map(address: str) -> Iterator[ParallelMap]:
    """A parallel map over the cores of the Ray cluster at `address`. Its nodes must reach the items' files.

    Raises InputError if it cannot be joined.
    """
    import ray

    with joined_ray(address):
        call = ray.remote(num_cpus=1)(_call)
        ahead = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield lambda function, items: _in_order(partial(call.remote, function), ray.get, items, ahead)


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)


def _in_order(
    start: Callable[[Any], Any], finish: Callable[[Any], Any], items: Iterable[Any], ahead: int
) -> Iterator[Any]:
    """Results in the order of the items, with at most so many started ahead of the one that is awaited."""
    left = iter(items)
    running = deque(start(item) for item in islice(left, ahead))
    while running:
        result = finish(running.popleft())
        running.extend(start(item) for item in islice(left, 1))
        yield result
