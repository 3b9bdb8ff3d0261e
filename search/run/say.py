"""How a stage talks to people: one line a call."""

from collections.abc import Callable

Say = Callable[[str], None]
