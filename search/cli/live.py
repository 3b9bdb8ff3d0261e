"""What a terminal shows of a run while this process works on it: one view, changed in place. Plain lines where there is
no terminal, or where they are asked for.
"""

import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from threading import Thread

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hybridtune.search.cli.console import stopwatch_lines
from hybridtune.search.dashboard.beside import looking
from hybridtune.search.dashboard.overview import Best, Overview, Rung
from hybridtune.search.run.run_dir import RunDir

LAST_LINES = 4
RUNGS = 6
PARAMETERS = 10


class RunView:
    """Says what a run says, and shows it while it is under way."""

    def __init__(self, console: Console, *, quiet: bool, dashboard: bool = False) -> None:
        """dashboard: shows it in the browser too."""
        self._console = console
        self._dashboard = dashboard
        self._plain = quiet or not console.is_terminal
        self._print = stopwatch_lines(console)
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._shown = False

    def say(self, text: str) -> None:
        if not self._shown:
            self._print(text)
        for line in text.splitlines():
            self._last.append(line)

    @contextmanager
    def watching(self, run: RunDir) -> Iterator[None]:
        """Shows the run as long as it is held."""
        with self._in_browser(run.name) if self._dashboard else nullcontext(), self._in_terminal(run):
            yield

    @contextmanager
    def _in_browser(self, run: str) -> Iterator[None]:
        """By `hybridtune dashboard`, a process of its own. The search waits until that has an address."""
        command = [sys.executable, "-m", "hybridtune", "dashboard", "--", run]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shown:  # noqa: S603 our own module
            assert shown.stdout is not None
            if line := shown.stdout.readline().strip():
                self.say(line)
            # How to see it where there is no display, say.
            rest = Thread(target=self._say_all, args=(shown.stdout,), daemon=True)
            rest.start()
            try:
                yield
            finally:
                shown.terminate()
                rest.join()

    def _say_all(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.say(line.strip())

    @contextmanager
    def _in_terminal(self, run: RunDir) -> Iterator[None]:
        if self._plain:
            yield
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            self._shown = True
            try:
                with looking(run, lambda seen: live.update(render(seen, tuple(self._last)), refresh=True)):
                    yield
            finally:
                self._shown = False


def render(run: Overview, last: Sequence[str]) -> RenderableType:
    """last: lines that it said, the latest at the end."""
    quiet = (Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in last)
    # Of a screen that is too low the end is cut off.
    return Group(_headline(run), *_trials(run), *quiet, Text(""), *_best(run.best, run), *_rungs(run.rungs))


def _headline(run: Overview) -> Text:
    text = Text.assemble((run.status, "bold"), "  ", (run.run, "dim"), no_wrap=True, overflow="ellipsis")
    if run.status == "searching":
        minutes, seconds = divmod(int(run.searched_seconds), 60)
        text.append(f"  {minutes}:{seconds:02d}")
        if run.time_left is not None:
            text.append(f", {run.time_left.text()}")
    elif run.members_wanted is not None:
        text.append(f"  {run.members} of {run.members_wanted} members")
    return text


def _trials(run: Overview) -> Iterator[RenderableType]:
    # A bar does not end its line by itself.
    bar = Table.grid()
    bar.add_row(ProgressBar(total=run.wanted, completed=run.ended, width=40))
    yield bar
    counts = "  ".join(f"{state} {count}" for state, count in run.states.items() if count)
    text = Text(f"{run.ended} of {run.wanted} trials: {counts or 'none yet'}")
    if run.samples_per_second:
        text.append(f"  {run.samples_per_second:,.0f} anchors/s", "dim")
    yield text


def _best(best: Best | None, run: Overview) -> Iterator[RenderableType]:
    if best is None:
        return
    metric = run.metric.replace("_", " ")
    text = Text.assemble("best ", (f"{best.objective:.4f}", "bold green"), f" {metric}, trial {best.trial}")
    if not best.different:
        text.append(", the reference configuration")
    elif best.reference_in_words is not None:
        text.append(f"; {best.reference_in_words}")
    text.append(f"; {run.tried} tried on the same slice", "dim")
    yield text
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("parameter", "best", "reference"):
        table.add_column(heading)
    for name, value, reference in best.different[:PARAMETERS]:
        table.add_row(name, _value(value), _value(reference))
    if best.different:
        yield table


def _value(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _rungs(rungs: Sequence[Rung]) -> Iterator[RenderableType]:
    if not rungs:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("rung", "reached", "went on", "best"):
        table.add_column(heading, justify="right")
    for rung in rungs[:RUNGS]:
        best = "" if rung.best is None else f"{rung.best:.4f}"
        table.add_row(str(rung.iteration), str(rung.reached), str(rung.went_on), best)
    yield table
