"""Arguments that several commands take, and how they are read."""

from datetime import datetime
from typing import Annotated

import typer

from hybridtune.data.schema import InputError
from hybridtune.search.run.settings import AUTO

RunArgument = Annotated[str, typer.Argument(help="A run: its folder, or s3://bucket/prefix.", show_default=False)]
AddressOption = Annotated[
    str | None,
    typer.Option(
        help="A Ray cluster: HOST:PORT or auto on one of its hosts, http://HOST:8265 from elsewhere.",
        show_default="this machine",
    ),
]
ServerOption = Annotated[
    str | None,
    typer.Option(
        help="http://HOST:8265: run this on a Ray cluster, whose paths are meant then.", show_default="this machine"
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Plain lines, as where there is no terminal.")]


def refuse_cluster(address: str | None) -> None:
    """Raises InputError for a cluster where none is needed; a job server's address never comes so far."""
    if address is not None:
        raise InputError(f"address {address} is not needed: leave it out, or name a job server, http://HOST:8265")


def minutes_of(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{name} must be minutes separated by commas like 15,60, got {text!r}") from None


def time_of(name: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{name} must be a time in UTC like 2026-03-01T12:00, got {text!r}") from None


def gpus_of(text: str) -> float | str:
    if text == AUTO:
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"gpus-per-trial must be a number like 1 or 0.5, or {AUTO}, got {text!r}") from None
