"""Commands about one run or several."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hybridtune.search.cli.arguments import (
    AddressOption,
    QuietOption,
    RunArgument,
    ServerOption,
    gpus_of,
    minutes_of,
    refuse_cluster,
)
from hybridtune.search.cli.console import out
from hybridtune.search.run.settings import Settings

if TYPE_CHECKING:
    from hybridtune.models.hardware import DeviceChoice, PrecisionChoice
    from hybridtune.search.report.comparison import Comparison
    from hybridtune.search.run.run_dir import RunDir


def _default(name: str) -> Any:
    """Of a setting of the same name."""
    return Settings.model_fields[name].default


def launch(
    dataset: Annotated[
        str, typer.Argument(help="A prepared dataset: its folder, or s3://bucket/prefix.", show_default=False)
    ],
    run: Annotated[str, typer.Option(help="New run: a folder, or s3://bucket/prefix.", show_default=False)],
    space: Annotated[str, typer.Option(help="hybrid, basic, transformer, tcn, all, or a YAML file.")] = "hybrid",
    horizons: Annotated[
        str | None, typer.Option(help="Minutes ahead, some of the dataset's.", show_default="all of them")
    ] = None,
    trials: Annotated[int, typer.Option(help="Configurations to try.")] = _default("trials"),
    iterations: Annotated[int, typer.Option(help="Full budget of a trial.")] = _default("iterations"),
    samples_per_iteration: Annotated[int, typer.Option(help="Anchors of an iteration.")] = _default(
        "samples_per_iteration"
    ),
    tune_anchors: Annotated[
        int, typer.Option(help="Anchors of tune that judge an iteration; a rung and the end take all.")
    ] = _default("tune_anchors"),
    patience: Annotated[int, typer.Option(help="Iterations without a better metric that end a trial.")] = _default(
        "patience"
    ),
    grace_period: Annotated[int, typer.Option(help="Iterations before ASHA may stop a trial.")] = _default(
        "grace_period"
    ),
    reduction_factor: Annotated[int, typer.Option(help="ASHA keeps the best of so many at a rung.")] = _default(
        "reduction_factor"
    ),
    scheduler: Annotated[
        str, typer.Option(help="asha, promotion (trials wait at rungs), hyperband (brackets) or none.")
    ] = _default("scheduler"),
    sampler: Annotated[
        str, typer.Option(help="tpe, random, gp, latest, or module:function from a seed to a sampler of Optuna's.")
    ] = _default("sampler"),
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
    concurrent: Annotated[
        int | None, typer.Option(help="Trials at a time.", show_default="as many as there is room for")
    ] = None,
    gpus_per_trial: Annotated[
        str, typer.Option(help="GPUs of each trial; a fraction shares one; auto measures how many may.")
    ] = f"{_default('gpus_per_trial'):g}",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = _default("device"),
    precision: Annotated[str, typer.Option(help="auto (bf16 where it is faster), fp32 or bf16.")] = _default(
        "precision"
    ),
    micro_batch: Annotated[
        int | None,
        typer.Option(help="Anchors that go through a model at once.", show_default="a batch, less if memory runs out"),
    ] = None,
    top_k: Annotated[int, typer.Option(help="Best configurations to retrain.")] = _default("top_k"),
    seeds: Annotated[int, typer.Option(help="Trainings of each.")] = _default("seeds"),
    metric: Annotated[str, typer.Option(help="tune_loss or tune_auc: what is best.")] = _default("metric"),
    seed: Annotated[int, typer.Option(help="The same seed and one worker give the same search.")] = _default("seed"),
    address: AddressOption = None,
    or_resume: Annotated[
        bool, typer.Option("--or-resume", help="Go on with the run if it is there, whatever else is given.")
    ] = False,
    quiet: QuietOption = False,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Show it in the browser as well.")] = False,
) -> None:
    """Search, retrain the best, blend them and write the report.

    Example: hybridtune launch demo/dataset --run demo/run --trials 30 --iterations 20
    """
    from hybridtune.search.cli.live import RunView
    from hybridtune.search.pipeline import launch as launch_run
    from hybridtune.search.study.stopping import parse_duration

    view = RunView(out, quiet=quiet, dashboard=dashboard)
    done = launch_run(
        dataset,
        run,
        view.say,
        space,
        {
            "horizons": None if horizons is None else minutes_of("horizons", horizons),
            "trials": trials,
            "iterations": iterations,
            "samples_per_iteration": samples_per_iteration,
            "tune_anchors": tune_anchors,
            "patience": patience,
            "grace_period": grace_period,
            "reduction_factor": reduction_factor,
            "scheduler": scheduler,
            "sampler": sampler,
            "time_budget": None if time_budget is None else parse_duration(time_budget),
            "stop_after": stop_after,
            "warm_start": warm_start,
            "concurrent": concurrent,
            "gpus_per_trial": gpus_of(gpus_per_trial),
            "device": device,
            "precision": precision,
            "micro_batch": micro_batch,
            "top_k": top_k,
            "seeds": seeds,
            "metric": metric,
            "seed": seed,
        },
        address,
        or_resume=or_resume,
        watching=view.watching,
    )
    _print_end(done)


def resume(
    run: RunArgument,
    trials: Annotated[int, typer.Option(min=0, help="Add so many trials, to a finished search too.")] = 0,
    time_budget: Annotated[
        str | None, typer.Option(help="Time that the search may still take, as 2h.", show_default="what was left")
    ] = None,
    concurrent: Annotated[int | None, typer.Option(help="Trials at a time.", show_default="as before")] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="GPUs of each trial; a fraction shares one.", show_default="as before")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.", show_default="as before")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32 or bf16; two of them do not compare.", show_default="as before")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(help="The run's own module:function, where it has one: its code is run.", show_default=False),
    ] = None,
    address: AddressOption = None,
    quiet: QuietOption = False,
) -> None:
    """Go on with a run that was stopped, or extend its search.

    Example: hybridtune resume demo/run --trials 20
    """
    from hybridtune.search.cli.live import RunView
    from hybridtune.search.pipeline import Changes
    from hybridtune.search.pipeline import resume as resume_run
    from hybridtune.search.run.opening import open_run
    from hybridtune.search.study.stopping import parse_duration

    changes = Changes(
        more_trials=trials,
        more_seconds=None if time_budget is None else parse_duration(time_budget),
        concurrent=concurrent,
        device=cast("DeviceChoice | None", device),
        precision=cast("PrecisionChoice | None", precision),
        gpus_per_trial=gpus_per_trial,
        sampler=sampler,
    )
    view = RunView(out, quiet=quiet)
    _print_end(resume_run(open_run(run), view.say, changes, address, watching=view.watching))


def status(
    run: RunArgument,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    address: ServerOption = None,
) -> None:
    """Where a run is: its stage, its trials, the best so far.

    Example: hybridtune status demo/run --json
    """
    refuse_cluster(address)
    from hybridtune.search.dashboard.status import read_status
    from hybridtune.search.run.opening import open_run

    current = read_status(open_run(run))
    out.print(current.model_dump_json(indent=1) if as_json else current.text())


def stop(run: RunArgument, address: ServerOption = None) -> None:
    """Stop what works on a run, wherever it does; what it has is kept, and resume goes on.

    Example: hybridtune stop s3://bucket/run
    """
    refuse_cluster(address)
    from hybridtune.search.run.opening import open_run
    from hybridtune.search.run.stop import stop as stop_run

    driver = stop_run(open_run(run))
    out.print(f"stopped: {driver}; `hybridtune resume {run}` goes on")


def replay(
    run: RunArgument,
    trial: Annotated[int, typer.Argument(help="Its number, as in trials.parquet.", show_default=False)],
    address: ServerOption = None,
) -> None:
    """Train one trial again and compare with the curve that it left; nothing in the run changes.

    Example: hybridtune replay demo/run 0
    """
    refuse_cluster(address)
    from hybridtune.search.cli.console import stopwatch_lines
    from hybridtune.search.replay.trial import replay as replay_trial
    from hybridtune.search.run.opening import open_run

    done = replay_trial(open_run(run), trial, stopwatch_lines(out))
    out.print(f"{done.iterations} iterations, largest difference {done.largest_difference:.2g}")
    if done.ran_on != done.runs_on:
        out.print(f"it ran on {done.ran_on} then, on {done.runs_on} now: small differences are to be expected")
    if done.fell_in is not None:
        out.print(f"it ran out of memory in iteration {done.fell_in}: from there on differences are to be expected")


def report(
    run: RunArgument,
    oracle: Annotated[
        Path | None,
        typer.Option(help="oracle.parquet of generated launches, to compare with.", show_default=False),
    ] = None,
    address: ServerOption = None,
) -> None:
    """Write a finished run's report anew and print its table.

    Example: hybridtune report demo/run --oracle demo/raw/oracle.parquet
    """
    refuse_cluster(address)
    from hybridtune.search.report.page import write_report
    from hybridtune.search.run.opening import open_run

    opened = open_run(run)
    _print_result(write_report(opened, oracle))
    out.print(f"report: {opened.report}")


def compare(
    results: Annotated[
        list[str], typer.Argument(metavar="RUN_OR_BUNDLE...", help="Two or more of one dataset.", show_default=False)
    ],
) -> None:
    """Show the ensembles of several runs or bundles side by side, on the same test slice.

    Example: hybridtune compare run other_run bundle
    """
    from hybridtune.search.cli.score_table import score_table
    from hybridtune.search.report.side_by_side import side_by_side

    compared = side_by_side(results)
    out.print(score_table(compared.horizons, compared.rows))
    for line in compared.lines:
        out.print(line)


def _print_end(run: "RunDir") -> None:
    from hybridtune.search.report.comparison import compare

    _print_result(compare(run))
    out.print(f"report: {run.report}")
    out.print(f"next: hybridtune export {run.name} BUNDLE; hybridtune predict BUNDLE FOLDER --out FILE")


def _print_result(comparison: "Comparison") -> None:
    from hybridtune.search.cli.score_table import terminal_table

    out.print(terminal_table(comparison))
    out.print(comparison.verdict)
    out.print("The ensemble's gain on the test slice (95% interval):")
    for line in comparison.gain_lines:
        out.print(f"  {line}")


def dashboard(
    run: RunArgument,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1.", show_default="any that is free")] = 0,
    browser: Annotated[bool, typer.Option(help="Open it.")] = True,
    address: Annotated[
        str | None,
        typer.Option(help="http://HOST:8265: shows Ray's own pages of that cluster too.", show_default=False),
    ] = None,
) -> None:
    """Watch a run in the browser, while it is under way and after it; ends with Ctrl-C, and changes nothing.

    Example: hybridtune dashboard demo/run
    """
    from hybridtune.search.dashboard.ray_pages import RayAddress
    from hybridtune.search.dashboard.server import serve

    ray = None
    if address is not None:
        from hybridtune.search.cluster.job_server import JobServer

        ray = RayAddress(address, JobServer.at(address).headers())
    serve(run, port, out.print, ray, browser=browser)


def doctor(
    run: Annotated[
        str | None, typer.Argument(help="A run, or where one is to be: can it be used?", show_default=False)
    ] = None,
) -> None:
    """Say what this machine has of what a search needs, and what to do about what is missing (exit status 1 then).

    Example: hybridtune doctor s3://bucket/run
    """
    from hybridtune.search.doctor import examine

    complete = True
    for finding in examine(run):
        out.print(finding.text())
        complete = complete and finding.state != "missing"
    if not complete:
        raise typer.Exit(1)
