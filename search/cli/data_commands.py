"""Commands that make data: synth and prepare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from hybridtune.data.schema import (
    DEFAULT_EXPANDING_MAX,
    DEFAULT_EXPANDING_MIN,
    DEFAULT_HORIZONS,
)
from hybridtune.search.cli.arguments import AddressOption, minutes_of, time_of
from hybridtune.search.cli.console import out

MEGABYTE = 1_000_000

if TYPE_CHECKING:
    from hybridtune.data.info import DatasetInfo
    from hybridtune.data.schema import LabelRule, Ties


def synth(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="New folder.", show_default=False)],
    tokens: Annotated[int, typer.Option(help="Launches to generate.")] = 300,
    minutes: Annotated[int, typer.Option(help="Bars of each.")] = 1440,
    seed: Annotated[int, typer.Option(help="The same seed gives the same launches.")] = 0,
) -> None:
    """Generate launches with a known signal, and oracle.parquet, the best possible prediction of them.

    Example: hybridtune synth demo/raw --tokens 1000
    """
    from hybridtune.data.synth import SynthConfig, generate
    from hybridtune.search.cli.console import progress_bar

    config = SynthConfig(tokens=tokens, minutes=minutes, seed=seed)
    with progress_bar(out) as bar:
        task = bar.add_task("generating launches", total=tokens)
        generate(config, folder, lambda done: bar.update(task, completed=done))
    out.print(f"{tokens} launches in {folder / 'launches'}, the oracle in {folder / 'oracle.parquet'}")


def prepare(
    raw: Annotated[
        Path,
        typer.Argument(
            help="Folder of <token>.parquet, .csv, .feather or .json files, or one table.", show_default=False
        ),
    ],
    dataset: Annotated[
        str, typer.Argument(metavar="OUT", help="New dataset: a folder, or s3://bucket/prefix.", show_default=False)
    ],
    horizons: Annotated[str, typer.Option(help="Minutes ahead, ascending, separated by commas.")] = ",".join(
        map(str, DEFAULT_HORIZONS)
    ),
    ties: Annotated[str, typer.Option(help="Equal prices: drop the label, or call it down.")] = "drop",
    columns: Annotated[
        str,
        typer.Option(
            help="Which columns are what, where their names are not known: id=token,time=ts,price=close; also volume, "
            "open, high, low.",
            show_default="recognised",
        ),
    ] = "",
    labels: Annotated[
        str,
        typer.Option(
            help="The price that counts at t+h: the last one by then, so that a token which stops trading has an "
            "outcome; or exact, that of a bar at this very minute."
        ),
    ] = "last",
    collected_until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="End of the collection in UTC, like 2026-03-01T12:00. No label looks beyond it.",
            show_default="the latest bar",
        ),
    ] = None,
    slices: Annotated[
        str, typer.Option(help="Shares of train/tune/blend/test in order of launch.")
    ] = "0.6/0.15/0.1/0.15",
    expanding_min: Annotated[
        int, typer.Option(help="Fewest observed bars that an anchor sees.")
    ] = DEFAULT_EXPANDING_MIN,
    expanding_max: Annotated[
        int, typer.Option(help="Most minutes since launch that an anchor sees.")
    ] = DEFAULT_EXPANDING_MAX,
    anchor_stride: Annotated[
        int, typer.Option(help="Minutes between two anchors on which configurations are scored.")
    ] = 15,
    folds: Annotated[
        int, typer.Option(help="Walk-forward folds of train and tune; a trial is scored by their mean.")
    ] = 1,
    address: AddressOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first file that cannot be used.")] = False,
) -> None:
    """Turn raw series into a dataset: features, labels, the four slices and their frozen anchors.

    Example: hybridtune prepare demo/raw/launches demo/dataset
    """
    from hybridtune.data.prepare import prepare as prepare_dataset
    from hybridtune.data.prepare_config import PrepareConfig
    from hybridtune.data.split import Shares
    from hybridtune.search.cli.console import progress_bar
    from hybridtune.search.cluster.maps import cores, process_map, ray_map
    from hybridtune.search.run.datasets import is_url, keep_at

    config = PrepareConfig(
        horizons=minutes_of("horizons", horizons),
        ties=cast("Ties", ties),
        labels=cast("LabelRule", labels),
        columns=columns,
        collected_until=None if collected_until is None else time_of("collected-until", collected_until),
        shares=Shares.parse(slices),
        expanding_min=expanding_min,
        expanding_max=expanding_max,
        anchor_stride=anchor_stride,
        folds=folds,
        strict=strict,
    )
    folders = [] if is_url(dataset) else [Path(dataset).resolve().parent]
    workers = process_map(cores()) if address is None else ray_map(address, raw.resolve(), *folders)
    with progress_bar(out) as bar, workers as parallel_map:
        task = bar.add_task("preparing series", total=None)

        def make(folder: Path) -> "DatasetInfo":
            return prepare_dataset(
                # The hosts of a cluster have working folders of their own.
                raw if address is None else raw.resolve(),
                folder,
                config,
                parallel_map,
                lambda done, total: bar.update(task, completed=done, total=total),
                # What goes to a bucket is made in a folder of this machine.
                sees_out=address is None or not is_url(dataset),
            )

        def brought(done: int, total: int) -> None:
            bar.update(task, description="uploading, MB", completed=done // MEGABYTE, total=total // MEGABYTE)

        info = keep_at(dataset, make, brought) if is_url(dataset) else make(Path(dataset))
    for line in info.summary():
        out.print(line)
    out.print(f"dataset in {dataset}, fingerprint {info.fingerprint}")
