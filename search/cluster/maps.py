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
from math import ceil
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

from hybridtune.data.parallel import ParallelMap
from hybridtune.data.schema import InputError
from hybridtune.search.cluster.joined_ray import joined_ray

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of all cores together that a container may have, and in how many; `max` where there is no limit."""

AHEAD = 8
"""Items of a parallel map that are started ahead, for each core: enough to keep it busy, few enough to hold."""


def cores() -> int:
    """Cores that this process may use, or so many as its container's share of their time makes."""
    # macOS has no such sets.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = CPU_MAX.read_text().partition(" ") if CPU_MAX.exists() else ("max", "", "")
    return allowed if quota == "max" else min(allowed, ceil(int(quota) / int(period)))


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
def ray_map(address: str, *seen: Path) -> Iterator[ParallelMap]:
    """A parallel map over the cores of the Ray cluster at `address`. seen: what each of its hosts has to see.

    Raises InputError if it cannot be joined, or naming a host that has another hybridtune or does not see that: there
    some of the items would be rejected, or come out otherwise.
    """
    import ray

    with joined_ray(address):
        from hybridtune.search.cluster import probe

        hosts = [host for host in probe.hosts() if host.cpus > 0]
        probe.refuse_other_installations(hosts)
        for path in seen:
            probe.refuse_unseen(hosts, path)
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
