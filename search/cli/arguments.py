"""Arguments that several commands take, and how they are read."""

from typing import Annotated

import typer

from hybridtune.data.schema import (
    InputError,
)

RunArgument = Annotated[str, typer.Argument(help="A run: its folder, or s3://bucket/prefix.", show_default=False)]
AddressOption = Annotated[
    str | None,
    typer.Option(help="A Ray cluster, HOST:PORT or auto, whose hosts all reach the run.", show_default="this machine"),
]


def minutes_of(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{name} must be minutes separated by commas like 15,60, got {text!r}") from None
