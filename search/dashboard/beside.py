"""Looks at a run from within the process that works on it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from hybridtune.search.dashboard.overview import Overview
from hybridtune.search.dashboard.watcher import PASSING, Look
from hybridtune.search.run.run_dir import RunDir

LOOK_SECONDS = 1.0
SHARE = 0.02
"""Of this process's time, what looking may take: it makes the search wait."""


@contextmanager
def looking(run: RunDir, show: Callable[[Overview], None]) -> Iterator[None]:
    """Shows the run about once a second, from a thread of its own, as long as it is held, and as it is at the end."""
    ended = Event()

    def look_on() -> None:
        look = Look.at_own(run)
        over = False
        while not over:
            over = ended.is_set()
            began = time.thread_time()
            # What is wrong for a moment is read in the next; the run itself tells of what stays so.
            with suppress(*PASSING):
                show(look())
            ended.wait(max(LOOK_SECONDS, (time.thread_time() - began) / SHARE))

    thread = Thread(target=look_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
