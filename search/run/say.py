"""How a stage talks to people: one line a call."""

import time
from collections.abc import Callable
from threading import Lock

Say = Callable[[str], None]

Progress = Callable[[int, int], None]
"""Told how much of how much is done."""


def said(say: Say, what: str, seconds: float = 10.0) -> Progress:
    """Progress in bytes, as a line now and then. What takes less than so many seconds is not spoken of."""
    last, one_at_a_time = time.monotonic(), Lock()

    def progress(done: int, total: int) -> None:
        nonlocal last
        with one_at_a_time:
            if time.monotonic() - last >= seconds:
                last = time.monotonic()
                say(f"{what}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")

    return progress
