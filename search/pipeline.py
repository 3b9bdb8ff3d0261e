"""The stages of a run, one after another, from wherever it stopped."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hybridtune.data.store import Dataset
from hybridtune.models.device import pick
from hybridtune.search.cluster.local_ray import Workers, refuse_missing_gpus
from hybridtune.search.cluster.maps import cores
from hybridtune.search.run.run_dir import RunDir, Status, versions
from hybridtune.search.run.say import Say
from hybridtune.search.run.settings import Settings
from hybridtune.spaces.load import load_space
from hybridtune.spaces.trial_config import Shape

Stage = Callable[[RunDir, Say, Workers], None]


def new_settings(path: Path, space: str, values: Mapping[str, Any]) -> Settings:
    """The settings of a run on the dataset at `path`; a trial runs on each core where `concurrent` is not given.

    space: the name of a shipped space or a YAML file. values: fields of Settings. Raises InputError or pydantic's
    ValidationError naming the field for what cannot be used.
    """
    dataset = Dataset(path)
    horizons = values.get("horizons")
    chosen = load_space(space, Shape.of((dataset.only(tuple(horizons)) if horizons else dataset).info))
    given = {
        "dataset": path.resolve(),
        "space_name": chosen.name,
        "dimensions": chosen.dimensions,
        "reference": chosen.reference,
        "concurrent": cores(),
    }
    settings = Settings.model_validate(given | {name: value for name, value in values.items() if value is not None})
    if settings.warm_start is None:
        return settings
    # A resume may come from another folder.
    return settings.model_copy(update={"warm_start": settings.warm_start.resolve()})


def launch(settings: Settings, run_path: Path, say: Say) -> RunDir:
    """Starts a run and takes it to its end. Raises InputError if `run_path` exists."""
    from hybridtune.search.study.sampler import check_sampler
    from hybridtune.search.study.warm_start import check_warm_start

    refuse_missing_gpus(settings.gpus_per_trial)
    pick(settings.hardware)
    dataset = settings.only_horizons(Dataset(settings.dataset))
    # A second or so, once; hours of search on damaged bars would tell nobody.
    dataset.verify()
    check_sampler(settings.sampler)
    if settings.warm_start is not None:
        check_warm_start(settings.warm_start, settings, dataset.info.fingerprint)
    run = RunDir.create(run_path, settings, dataset.info.fingerprint)
    with run.lock():
        take_to_end(run, say)
    return run


def resume(run: RunDir, say: Say, more_trials: int = 0, more_seconds: float | None = None) -> None:
    """Goes on with a run that was stopped; `more_trials` extends its search, finished or not, and `more_seconds` is
    how long the search may still take.

    Raises InputError if its dataset is gone or is not the one that it was started with, or if another process
    works on the run; nothing is changed then.
    """
    run.open_dataset().verify()
    with run.lock():
        _say_other_versions(run, say)
        _reopen(run, more_trials, more_seconds)
        take_to_end(run, say)


def _reopen(run: RunDir, more_trials: int, more_seconds: float | None) -> None:
    document = run.document()
    if more_trials or more_seconds is not None:
        settings = document.settings.model_copy(update={"trials": document.settings.trials + more_trials})
        if more_seconds is not None:
            settings = settings.model_copy(update={"time_budget": _searched_seconds(run) + more_seconds})
        # Of the smaller search: until the larger one is finished, there is no result.
        run.ensemble.unlink(missing_ok=True)
        run.update(settings=settings.model_dump(), status="searching", error=None)
    elif document.status == "failed":
        run.update(status="searching", error=None)


def _say_other_versions(run: RunDir, say: Say) -> None:
    then, now = run.document().versions, versions()
    others = [f"{name} {then.get(name)} (this is {now[name]})" for name in now if then.get(name) != now[name]]
    if others:
        say(f"this run was started with {', '.join(others)}: its trials may differ a little from those to come")


def _searched_seconds(run: RunDir) -> float:
    from hybridtune.search.study.stopping import searched_seconds
    from hybridtune.search.study.study import open_study

    return searched_seconds(open_study(run))


def take_to_end(run: RunDir, say: Say) -> None:
    """Every stage finds what it did already in the run directory, so a stage that was cut short is repeated.

    The caller holds the run's lock.
    """
    from hybridtune.search.workers.failures import plain_error

    with Workers(run.document().settings.concurrent) as workers:
        while (status := run.document().status) != "done":
            stage, following = _stages()[status]
            try:
                stage(run, say, workers)
            except Exception as error:
                plain = plain_error(run.path, error)
                # Where nothing can be written, the status of before says as well where to go on.
                with suppress(OSError):
                    run.update(status="failed", error=str(plain))
                if plain is error:
                    raise
                raise plain from error
            run.update(status=following)


def _stages() -> dict[str, tuple[Stage, Status]]:
    """Status -> what is to be done, and the status after it."""
    from hybridtune.search.finalists.blend import blend
    from hybridtune.search.finalists.retrain import retrain
    from hybridtune.search.report.page import write_report
    from hybridtune.search.tuning.tune import search

    def blend_and_report(run: RunDir, say: Say, workers: Workers) -> None:  # noqa: ARG001 one signature
        blend(run, say)
        write_report(run)

    return {
        "searching": (search, "retraining"),
        "retraining": (retrain, "blending"),
        "blending": (blend_and_report, "done"),
    }
