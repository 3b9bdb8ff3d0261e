"""Commands about bundles: export and predict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hybridtune.data.schema import InputError
from hybridtune.search.cli.arguments import RunArgument, ServerOption, minutes_of, refuse_cluster
from hybridtune.search.cli.console import out

if TYPE_CHECKING:
    from hybridtune.models.bundle.attention_folder import AttentionFolder
    from hybridtune.models.bundle.minutes import Requested


def export(
    run: RunArgument,
    bundle: Annotated[Path, typer.Argument(metavar="OUT", help="New bundle folder.", show_default=False)],
    address: ServerOption = None,
) -> None:
    """Export a finished run as one folder that predicts without Ray.

    Example: hybridtune export demo/run demo/bundle
    """
    refuse_cluster(address)
    from hybridtune.search.export import export as export_run
    from hybridtune.search.run.opening import open_run

    document = export_run(open_run(run), bundle)
    out.print(f"bundle of {len(document.members)} members: {bundle}")


def predict(
    bundle: Annotated[Path, typer.Argument(help="An exported bundle.", show_default=False)],
    raw: Annotated[Path, typer.Argument(help="Folder of series, as for prepare.", show_default=False)],
    out_file: Annotated[Path, typer.Option("--out", help="New parquet file.", show_default=False)],
    stride: Annotated[
        int | None, typer.Option(help="Minutes between two predictions of a series.", show_default="every minute")
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="Only from the last minute of each series.")] = False,
    minutes: Annotated[
        str | None, typer.Option(help="Only at these minutes after launch, as 120,360.", show_default=False)
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="New folder: what the model attended to, as parquet and a page; with --last or --minutes.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Probability of up at every horizon, for every minute of every series.

    Example: hybridtune predict demo/bundle demo/raw/launches --out predictions.parquet --stride 15
    """
    from hybridtune.models.bundle.predict import predict_folder
    from hybridtune.search.cli.console import progress_bar
    from hybridtune.search.cluster.maps import cores, process_map

    requested = _requested(stride, last, minutes)
    with progress_bar(out) as bar, process_map(cores()) as parallel_map:
        task = bar.add_task("predicting series", total=None)
        summary = predict_folder(
            bundle,
            raw,
            out_file,
            requested,
            None if explain is None else _attention_folder(explain),
            lambda done, total: bar.update(task, completed=done, total=total),
            parallel_map,
        )
    for problem in summary.problems:
        out.print(f"no prediction: {problem}")
    if summary.goes_on:
        out.print(f"{summary.goes_on} series go on after the last minute that can be predicted from (expanding-max)")
    out.print(f"{summary.rows} predictions for {summary.series} series in {out_file}")
    if explain is not None:
        out.print(f"attention of member {summary.attentive}: {explain / 'index.html'}")


def _requested(stride: int | None, last: bool, minutes: str | None) -> "Requested":
    from hybridtune.models.bundle.minutes import EVERY_MINUTE, At, Every, Last

    given: dict[str, Requested] = {}
    if stride is not None:
        given["--stride"] = Every(stride)
    if last:
        given["--last"] = Last()
    if minutes is not None:
        given["--minutes"] = At(minutes_of("minutes", minutes))
    if len(given) > 1:
        raise InputError(f"--stride, --last and --minutes exclude each other, got {' and '.join(given)}: keep one")
    return next(iter(given.values()), EVERY_MINUTE)


def _attention_folder(path: Path) -> "AttentionFolder":
    from hybridtune.models.bundle.attention_folder import AttentionFolder
    from hybridtune.search.report.attention_plot import draw_page

    return AttentionFolder(path, draw_page)
