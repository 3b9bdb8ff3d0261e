"""Words and limits that every part agrees on: columns, units, slices, and the error shown to users."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from hybridtune.data.text import printable

TIME_COLUMN: Final = "datetime"
PRICE_COLUMN: Final = "price"
VOLUME_COLUMN: Final = "volume"

SMALLEST_PRICE: Final = 2.2250738585072014e-308
"""The smallest normal float64: torch makes the processor take smaller ones for zero, whose logarithm is infinite."""

DEFAULT_HORIZONS: Final = (15, 30, 60, 120, 240, 360, 720)
"""Minutes ahead at which direction is predicted."""

DEFAULT_EXPANDING_MIN: Final = 60
DEFAULT_EXPANDING_MAX: Final = 720
"""Fewest and most bars from launch that an anchor may see."""

MASKED: Final = -1
"""Label value of a (minute, horizon) that counts nowhere: unobserved, or a dropped tie."""

Ties = Literal["drop", "down"]
LabelRule = Literal["last", "exact"]
"""Which price counts at t+h: the last one at or before it, or only that of a bar at this very minute."""
SliceName = Literal["train", "tune", "blend", "test"]
SLICES: Final[tuple[SliceName, ...]] = ("train", "tune", "blend", "test")
"""In order of launch time; a series belongs to one of them or is purged."""


class InputError(ValueError):
    """What a user gave cannot be used. The message is one printable line: rule, value seen, remedy."""

    def __init__(self, message: str) -> None:
        # Here once: paths, values and other libraries' messages hold whatever the files hold.
        super().__init__(printable(message))


def refuse_non_utf8(path: Path) -> None:
    """JSON, Arrow and Parquet hold text as UTF-8 alone, and so do the tables of names."""
    if any("\udc80" <= each <= "\udcff" for each in str(path)):
        raise InputError(f"{path}: the name is not UTF-8, choose another")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """choices: mostly `get_args` of the Literal that declares them."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def at_least(name: str, value: int, smallest: int) -> None:
    if value < smallest:
        raise InputError(f"{name} must be at least {smallest}, got {value}")
