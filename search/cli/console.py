"""What the terminal shows while stages run: plain lines, each with the time since the start."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hybridtune.search.run.say import Say

# No markup, no emoji: a path may hold [brackets] and :colons:.
out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def stopwatch_lines(console: Console) -> Say:
    started = time.monotonic()

    def say(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        console.print(f"[{minutes:02d}:{seconds:02d}] {text}", markup=False, highlight=False, soft_wrap=True)

    return say


def progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
