"""Commands about search spaces."""

from typing import Annotated

import typer
from rich.table import Table

from hybridtune.search.cli.console import out
from hybridtune.spaces.parameters import Choice, Dimension, Float, Scalar, Space


def show(
    name: Annotated[str, typer.Argument(metavar="SPACE", help="A shipped one, or a YAML file.", show_default=False)],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="A dataset whose horizons and longest window it has to suit.", show_default="those that prepare makes"
        ),
    ] = None,
) -> None:
    """Print the dimensions of a search space, their values and defaults.

    Example: hybridtune space show hybrid
    """
    from hybridtune.spaces.load import load_space
    from hybridtune.spaces.trial_config import Shape

    shape = None
    if dataset is not None:
        from hybridtune.data.store import Dataset
        from hybridtune.search.run.datasets import find_dataset

        shape = Shape.of(Dataset(find_dataset(dataset)).info)
    out.print(space_table(load_space(name, shape)))


def space_table(space: Space) -> Table:
    """A row for each dimension; dimensions of a single point are fixed."""
    size = space.size()
    table = Table(title=f"space {space.name}: {size:,.0f} configurations" if size < 1e15 else f"space {space.name}")
    for column in ("dimension", "values", "default", "exists where"):
        table.add_column(column, overflow="fold")
    defaults = {name: dimension.nearest(space.reference[name]) for name, dimension in space.dimensions.items()}
    for name, dimension in space.dimensions.items():
        where = " and ".join(f"{other} is {_listed(values)}" for other, values in dimension.when.items())
        table.add_row(name, _values(dimension), _text(defaults[name]), where)
    return table


def _values(dimension: Dimension) -> str:
    if isinstance(dimension, Choice):
        return _listed(dimension.choices)
    if dimension.low == dimension.high:
        return _text(dimension.low)
    if isinstance(dimension, Float):
        return f"{_text(dimension.low)} to {_text(dimension.high)}{', log scale' * dimension.log}"
    return f"{dimension.low} to {dimension.high}" + f" in steps of {dimension.step}" * (dimension.step > 1)


def _listed(values: tuple[Scalar, ...]) -> str:
    return ", ".join(map(_text, values))


def _text(value: Scalar) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
