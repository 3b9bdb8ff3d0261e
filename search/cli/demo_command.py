"""The whole path in one command: those of the others, one after another, on generated launches."""

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

import hybridtune.spaces
from hybridtune.search.cli.console import out


@dataclass(frozen=True)
class _Size:
    launches: int
    budget: str
    """Options of the search."""


SMALL = _Size(300, "--trials 8 --iterations 6 --samples-per-iteration 1024 --grace-period 1 --top-k 1 --seeds 2")
FULL = _Size(1000, "--trials 12 --iterations 10 --samples-per-iteration 4096 --grace-period 2 --top-k 2 --seeds 2")


def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="New folder.")] = Path("demo"),
    full: Annotated[
        bool, typer.Option("--full", help="The README's: more launches and a longer search, some five minutes.")
    ] = False,
) -> None:
    """Show the whole path on generated launches, in a minute or so: search, report, bundle, predictions.

    Example: hybridtune demo demo
    """
    from hybridtune.data.document import refuse_existing
    from hybridtune.data.schema import InputError

    refuse_existing(folder)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made ({error.strerror}): name another folder") from None
    # A copy of one's own, to change and search again.
    shutil.copyfile(Path(hybridtune.spaces.__path__[0]) / "demo.yaml", folder / "space.yaml")
    group = context.find_root().command
    for line in commands(folder, FULL if full else SMALL):
        out.print(f"\n$ hybridtune {line}")
        group.main(shlex.split(line), prog_name="hybridtune", standalone_mode=False)


def commands(folder: Path, size: _Size) -> list[str]:
    """In their order, as one would type them after `hybridtune`."""
    at = shlex.quote(str(folder))
    return [
        f"synth {at}/raw --tokens {size.launches}",
        f"prepare {at}/raw/launches {at}/dataset --anchor-stride 30",
        f"launch {at}/dataset --run {at}/run --space {at}/space.yaml {size.budget}",
        f"export {at}/run {at}/bundle",
        f"predict {at}/bundle {at}/raw/launches --last --out {at}/predictions.parquet",
        f"report {at}/run --oracle {at}/raw/oracle.parquet",
    ]
