"""The command line: arguments in, one call to a stage, words and an exit status out. No logic.

Exit status: 0 done; 2 bad arguments or input, with one line on stderr; 130 interrupted; 1 anything else.
Stages are imported when their command runs: help and mistakes answer at once.
"""

import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from data.schema import (
    DEFAULT_EXPANDING_MAX,
    DEFAULT_EXPANDING_MIN,
    DEFAULT_HORIZONS,
    InputError,
)

if TYPE_CHECKING:
    from pydantic import ValidationError

    from models.bundle.attention_folder import Explain
    from models.bundle.minutes import Asked
    from search.report.comparison import Comparison

app = typer.Typer(
    help="Hyperparameter search for models of many short price series.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# No markup, no emoji: a path may hold [brackets] and :colons:.
out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)

INTERRUPTED = 130

RunArgument = Annotated[Path, typer.Argument(help="A run directory.", show_default=False)]


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; goes anywhere.")] = False,
) -> None:
    """Hyperparameter search for models of many short price series."""


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="New folder.", show_default=False)],
    tokens: Annotated[int, typer.Option(help="Launches to generate.")] = 300,
    minutes: Annotated[int, typer.Option(help="Bars of each.")] = 1440,
    seed: Annotated[int, typer.Option(help="The same seed gives the same launches.")] = 0,
) -> None:
    """Generate launches with a known signal, and oracle.parquet, the best possible prediction of them.

    Example: hybridtune synth demo/raw --tokens 1000
    """
    from data.synth import SynthConfig, generate
    from search.cli.console import progress_bar

    config = SynthConfig(tokens=tokens, minutes=minutes, seed=seed)
    with progress_bar(out) as bar:
        task = bar.add_task("generating launches", total=tokens)
        generate(config, folder, lambda done: bar.update(task, completed=done))
    out.print(f"{tokens} launches in {folder / 'launches'}, the oracle in {folder / 'oracle.parquet'}")


@app.command()
def prepare(
    raw: Annotated[Path, typer.Argument(help="Folder of <token>.parquet or .csv files.", show_default=False)],
    dataset: Annotated[Path, typer.Argument(metavar="OUT", help="New dataset folder.", show_default=False)],
    horizons: Annotated[str, typer.Option(help="Minutes ahead, ascending, separated by commas.")] = ",".join(
        map(str, DEFAULT_HORIZONS)
    ),
    ties: Annotated[str, typer.Option(help="Equal prices: drop the label, or call it down.")] = "drop",
    slices: Annotated[
        str, typer.Option(help="Shares of train/tune/blend/test in order of launch.")
    ] = "0.6/0.15/0.1/0.15",
    expanding_min: Annotated[int, typer.Option(help="Fewest bars that an anchor sees.")] = DEFAULT_EXPANDING_MIN,
    expanding_max: Annotated[int, typer.Option(help="Most bars that an anchor sees.")] = DEFAULT_EXPANDING_MAX,
    anchor_stride: Annotated[
        int, typer.Option(help="Minutes between two anchors on which configurations are judged.")
    ] = 15,
    folds: Annotated[
        int, typer.Option(help="Walk-forward folds of train and tune; a trial is judged by their mean.")
    ] = 1,
    address: Annotated[
        str | None,
        typer.Option(help="Spread over this Ray cluster; its nodes must reach RAW.", show_default="none"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first file that cannot be used.")] = False,
) -> None:
    """Turn raw series into a dataset: features, labels, the four slices and their frozen anchors.

    Example: hybridtune prepare demo/raw/launches demo/dataset
    """
    from data.prepare import PrepareConfig
    from data.prepare import prepare as prepare_dataset
    from data.schema import as_ties
    from data.split import Shares
    from search.cli.console import progress_bar
    from search.cluster.maps import cores, process_map, ray_map

    config = PrepareConfig(
        horizons=_minutes("horizons", horizons),
        ties=as_ties(ties),
        shares=Shares.parse(slices),
        expanding_min=expanding_min,
        expanding_max=expanding_max,
        anchor_stride=anchor_stride,
        folds=folds,
        strict=strict,
    )
    workers = process_map(cores()) if address is None else ray_map(address)
    with progress_bar(out) as bar, workers as parallel_map:
        task = bar.add_task("preparing series", total=None)
        info = prepare_dataset(
            raw,
            dataset,
            config,
            parallel_map,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    for line in info.summary():
        out.print(line)
    out.print(f"dataset in {dataset}, fingerprint {info.fingerprint}")


@app.command()
def launch(
    dataset: Annotated[Path, typer.Argument(help="A prepared dataset.", show_default=False)],
    run: Annotated[Path, typer.Option(help="New run directory.", show_default=False)],
    space: Annotated[str, typer.Option(help="hybrid, basic, transformer, tcn, all, or a YAML file.")] = "hybrid",
    horizons: Annotated[
        str | None, typer.Option(help="Minutes ahead, some of the dataset's.", show_default="all of them")
    ] = None,
    trials: Annotated[int, typer.Option(help="Configurations to try.")] = 50,
    iterations: Annotated[int, typer.Option(help="Full budget of a trial.")] = 100,
    samples_per_iteration: Annotated[int, typer.Option(help="Anchors of an iteration.")] = 8192,
    patience: Annotated[int, typer.Option(help="Iterations without a better metric that end a trial.")] = 15,
    grace_period: Annotated[int, typer.Option(help="Iterations before ASHA may stop a trial.")] = 4,
    reduction_factor: Annotated[int, typer.Option(help="ASHA keeps the best of so many at a rung.")] = 3,
    scheduler: Annotated[str, typer.Option(help="asha, hyperband (its brackets) or none.")] = "asha",
    sampler: Annotated[
        str, typer.Option(help="tpe, random, gp, or module:function that takes a seed and returns an Optuna sampler.")
    ] = "tpe",
    time_budget: Annotated[
        str | None, typer.Option(help="Time for the search, as 2h or 90m; the rest follows.", show_default="none")
    ] = None,
    stop_after: Annotated[
        int | None, typer.Option(help="Trials without a better one that end the search.", show_default="never")
    ] = None,
    warm_start: Annotated[
        Path | None,
        typer.Option(help="An earlier run on this dataset, to learn from its trials.", show_default="none"),
    ] = None,
    concurrent: Annotated[int | None, typer.Option(help="Trials at a time.", show_default="one a core")] = None,
    gpus_per_trial: Annotated[float, typer.Option(help="GPUs of each trial; a fraction shares one.")] = 0.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto (bf16 where the hardware has it), fp32 or bf16.")] = "auto",
    micro_batch: Annotated[
        int | None,
        typer.Option(help="Anchors that go through a model at once.", show_default="a batch, less if memory runs out"),
    ] = None,
    top_k: Annotated[int, typer.Option(help="Best configurations to retrain.")] = 3,
    seeds: Annotated[int, typer.Option(help="Trainings of each.")] = 2,
    metric: Annotated[str, typer.Option(help="tune_loss or tune_auc: what is best.")] = "tune_loss",
    seed: Annotated[int, typer.Option(help="The same seed and one worker give the same search.")] = 0,
) -> None:
    """Search, retrain the best, blend them and write the report.

    Example: hybridtune launch demo/dataset --run demo/run --trials 30 --iterations 20
    """
    from data.store import Dataset
    from search.cli.console import stopwatch_lines
    from search.cluster.maps import cores
    from search.pipeline import launch as launch_run
    from search.run.settings import Settings
    from search.study.limits import parse_duration
    from spaces.load import load_space
    from spaces.trial_config import Shape

    info = Dataset(dataset).only(_minutes("horizons", horizons)).info if horizons else Dataset(dataset).info
    chosen = load_space(space, Shape.of(info))
    settings = Settings.model_validate(
        {
            "dataset": dataset.resolve(),
            "space_name": chosen.name,
            "dimensions": chosen.dimensions,
            "guide": chosen.guide,
            "horizons": None if horizons is None else _minutes("horizons", horizons),
            "trials": trials,
            "iterations": iterations,
            "samples_per_iteration": samples_per_iteration,
            "patience": patience,
            "grace_period": grace_period,
            "reduction_factor": reduction_factor,
            "scheduler": scheduler,
            "sampler": sampler,
            "time_budget": None if time_budget is None else parse_duration(time_budget),
            "stop_after": stop_after,
            "warm_start": None if warm_start is None else warm_start.resolve(),
            "concurrent": cores() if concurrent is None else concurrent,
            "gpus_per_trial": gpus_per_trial,
            "device": device,
            "precision": precision,
            "micro_batch": micro_batch,
            "top_k": top_k,
            "seeds": seeds,
            "metric": metric,
            "seed": seed,
        }
    )
    done = launch_run(settings, run, stopwatch_lines(out))
    _print_end(done.path)


@app.command()
def resume(
    run: RunArgument,
    trials: Annotated[int, typer.Option(min=0, help="Add so many trials, to a finished search too.")] = 0,
    time_budget: Annotated[
        str | None, typer.Option(help="Time that the search may still take, as 2h.", show_default="what was left")
    ] = None,
) -> None:
    """Go on with a run that was stopped, or extend its search.

    Example: hybridtune resume demo/run --trials 20
    """
    from search.cli.console import stopwatch_lines
    from search.pipeline import resume as resume_run
    from search.run.run_dir import RunDir
    from search.study.limits import parse_duration

    seconds = None if time_budget is None else parse_duration(time_budget)
    resume_run(RunDir.open(run), stopwatch_lines(out), trials, seconds)
    _print_end(run)


@app.command()
def status(
    run: RunArgument,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Where a run is: its stage, its trials, the best so far.

    Example: hybridtune status demo/run --json
    """
    from search.dashboard.status import read_status
    from search.run.run_dir import RunDir

    current = read_status(RunDir.open(run))
    out.print(current.model_dump_json(indent=1) if as_json else current.text())


@app.command()
def replay(
    run: RunArgument,
    trial: Annotated[int, typer.Argument(help="Its number, as in trials.parquet.", show_default=False)],
) -> None:
    """Train one trial again and compare with the curve that it left; nothing in the run changes.

    Example: hybridtune replay demo/run 0
    """
    from search.cli.console import stopwatch_lines
    from search.replay.trial import replay as replay_trial
    from search.run.run_dir import RunDir

    done = replay_trial(RunDir.open(run), trial, stopwatch_lines(out))
    out.print(f"{done.iterations} iterations, largest difference {done.largest_difference:.2g}")
    if done.ran_on != done.runs_on:
        out.print(f"it ran on {done.ran_on} then, on {done.runs_on} now: small differences are to be expected")


spaces_app = typer.Typer(help="Search spaces.", rich_markup_mode=None)
app.add_typer(spaces_app, name="space")


@spaces_app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="SPACE", help="A shipped one, or a YAML file.", show_default=False)],
) -> None:
    """Print the dimensions of a search space, their values and defaults.

    Example: hybridtune space show hybrid
    """
    from search.cli.space_table import space_table
    from spaces.load import load_space

    out.print(space_table(load_space(name)))


@app.command()
def report(
    run: RunArgument,
    oracle: Annotated[
        Path | None,
        typer.Option(help="oracle.parquet of generated launches, to compare with.", show_default=False),
    ] = None,
) -> None:
    """Write a finished run's report anew and print its table.

    Example: hybridtune report demo/run --oracle demo/raw/oracle.parquet
    """
    from search.report.page import write_report
    from search.run.run_dir import RunDir

    opened = RunDir.open(run)
    _print_result(write_report(opened, oracle))
    out.print(f"report: {opened.report}")


@app.command()
def compare(
    results: Annotated[
        list[Path], typer.Argument(metavar="RUN_OR_BUNDLE...", help="Two or more of one dataset.", show_default=False)
    ],
) -> None:
    """Show the ensembles of several runs or bundles side by side, on the same test slice.

    Example: hybridtune compare run other_run bundle
    """
    from search.cli.score_table import score_table
    from search.report.side_by_side import side_by_side

    compared = side_by_side(results)
    out.print(score_table(compared.horizons, compared.rows))
    for line in compared.lines:
        out.print(line)


@app.command()
def export(
    run: RunArgument,
    bundle: Annotated[Path, typer.Argument(metavar="OUT", help="New bundle folder.", show_default=False)],
) -> None:
    """Export a finished run as one folder that predicts without Ray.

    Example: hybridtune export demo/run demo/bundle
    """
    from search.export import export as export_run
    from search.run.run_dir import RunDir

    document = export_run(RunDir.open(run), bundle)
    out.print(f"bundle of {len(document.members)} members: {bundle}")


@app.command()
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
            help="New folder: where the model looked, as parquet and a page; with --last or --minutes.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Probability of a rise at every horizon, for every minute of every series.

    Example: hybridtune predict demo/bundle demo/raw/launches --out predictions.parquet --stride 15
    """
    from models.bundle.predict import predict_folder
    from search.cli.console import progress_bar
    from search.cluster.maps import cores, process_map

    asked = _asked(stride, last, minutes)
    with progress_bar(out) as bar, process_map(cores()) as parallel_map:
        task = bar.add_task("predicting series", total=None)
        summary = predict_folder(
            bundle,
            raw,
            out_file,
            asked,
            None if explain is None else _explain(explain),
            lambda done, total: bar.update(task, completed=done, total=total),
            parallel_map,
        )
    for problem in summary.problems:
        out.print(f"no prediction: {problem}")
    if summary.goes_on:
        out.print(f"{summary.goes_on} series go on after the last minute that can be predicted from (expanding-max)")
    out.print(f"{summary.rows} predictions for {summary.series} series in {out_file}")
    if explain is not None:
        out.print(f"where member {summary.explainer} looked: {explain / 'index.html'}")


def main() -> None:
    """Entry point of `hybridtune`."""
    # --debug is taken out here, so that it may stand before or after the command.
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    # A polite kill ends a command as Ctrl-C does: what is half-written is taken away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(_run(arguments, debug))


def _run(arguments: list[str], debug: bool) -> int:
    from pydantic import ValidationError

    try:
        # Typer's non-standalone mode returns the status of a help page or an interrupt instead of leaving.
        code = app(arguments or ["--help"], prog_name="hybridtune", standalone_mode=False)
    except typer.TyperException as error:
        command = next((name for name in arguments if name in _commands()), "")
        return _fail(f"{error.format_message()} (`hybridtune {command} --help` lists what it takes)", 2, debug)
    except (InputError, ValidationError) as error:
        return _fail(str(error) if isinstance(error, InputError) else _problem(error), 2, debug)
    except Exception as error:
        return _fail(f"{type(error).__name__}: {error} (--debug shows where)", 1, debug)
    if code == INTERRUPTED:
        resumable = {"launch", "resume"} & set(arguments)
        return _fail("interrupted" + (": `hybridtune resume RUN` goes on with a run" if resumable else ""), INTERRUPTED)
    return int(code or 0)


def _commands() -> list[str]:
    return [command.callback.__name__ for command in app.registered_commands if command.callback]


def _fail(text: str, status: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    print(f"hybridtune: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201
    return status


def _problem(error: "ValidationError") -> str:
    from data.document import first_problem

    return first_problem(error)


def _minutes(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{name} must be minutes separated by commas like 15,60, got {text!r}") from None


def _asked(stride: int | None, last: bool, minutes: str | None) -> "Asked":
    from models.bundle.minutes import EVERY_MINUTE, At, Every, Last

    given: dict[str, Asked] = {}
    if stride is not None:
        given["--stride"] = Every(stride)
    if last:
        given["--last"] = Last()
    if minutes is not None:
        given["--minutes"] = At(_minutes("minutes", minutes))
    if len(given) > 1:
        raise InputError(f"--stride, --last and --minutes exclude each other, got {' and '.join(given)}: keep one")
    return next(iter(given.values()), EVERY_MINUTE)


def _explain(folder: Path) -> "Explain":
    from models.bundle.attention_folder import Explain
    from search.report.attention_plot import draw_page

    return Explain(folder, draw_page)


def _print_end(run: Path) -> None:
    from search.report.comparison import compare
    from search.run.run_dir import RunDir

    opened = RunDir.open(run)
    _print_result(compare(opened))
    out.print(f"report: {opened.report}")
    out.print(f"next: hybridtune export {run} BUNDLE; hybridtune predict BUNDLE FOLDER --out FILE")


def _print_result(comparison: "Comparison") -> None:
    from search.cli.score_table import terminal_table

    out.print(terminal_table(comparison))
    out.print(comparison.verdict)
    out.print("The ensemble's gain on the test slice (95% interval):")
    for line in comparison.gain_lines:
        out.print(f"  {line}")
