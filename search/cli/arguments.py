"""Arguments that several commands take, and how they are read."""

from pathlib import Path
from typing import Annotated

import typer

from hybridtune.data.schema import (
    InputError,
)

RunArgument = Annotated[Path, typer.Argument(help="A run directory.", show_default=False)]


def minutes_of(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{name} must be minutes separated by commas like 15,60, got {text!r}") from None
