"""What a notebook shows of a run while its kernel works on it: one table, changed in place."""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from hybridtune.search.dashboard.beside import looking
from hybridtune.search.dashboard.overview import Overview
from hybridtune.search.dashboard.render import render
from hybridtune.search.run.run_dir import RunDir

LAST_LINES = 4


def in_notebook() -> bool:
    """Whether this process is the kernel of one."""
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


class NotebookView:
    """Says what a run says in the table, and nowhere else: all of it is in the run's log."""

    def __init__(self) -> None:
        self._last: deque[str] = deque(maxlen=LAST_LINES)

    def say(self, text: str) -> None:
        self._last.extend(text.splitlines())

    @contextmanager
    def watching(self, run: RunDir) -> Iterator[None]:
        from IPython.display import HTML, display

        shown = display(HTML(""), display_id=True)
        assert shown is not None

        def show(seen: Overview) -> None:
            shown.update(HTML(render(__package__, "notebook.html", run=seen, last=list(self._last))))

        with looking(run, show):
            yield
