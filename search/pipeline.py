"""The stages of a run, one after another, from wherever it stopped."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hybridtune.data.schema import InputError
from hybridtune.data.store import Dataset
from hybridtune.models.hardware import DeviceChoice, PrecisionChoice
from hybridtune.search.cluster.workers import Workers, workers_at
from hybridtune.search.run import copies
from hybridtune.search.run.datasets import find_dataset
from hybridtune.search.run.lease import DeposedError
from hybridtune.search.run.location import Location, locate
from hybridtune.search.run.log import logged
from hybridtune.search.run.opening import create_run, driving, exists, open_run, refuse_existing_run
from hybridtune.search.run.place import PlaceError
from hybridtune.search.run.run_dir import RunDir, Status, versions
from hybridtune.search.run.say import Say, said
from hybridtune.search.run.settings import AUTO, Settings
from hybridtune.spaces.load import load_space
from hybridtune.spaces.trial_config import Shape

Stage = Callable[[RunDir, Say, Workers], None]
Watching = Callable[[RunDir], AbstractContextManager[None]]
"""Holds while this process works on the run, whose folder it may look at."""


def unwatched(run: RunDir) -> AbstractContextManager[None]:  # noqa: ARG001
    return nullcontext()


def new_settings(path: Path, space: str, values: Mapping[str, Any], workers: Workers) -> Settings:
    """The settings of a run on the dataset at `path`.

    space: the name of a shipped space or a YAML file. values: fields of Settings; with gpus_per_trial auto, a trial has
    a whole GPU until `_share_gpus` has measured. Raises InputError or pydantic's
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
    }
    chosen_values = {name: value for name, value in values.items() if value is not None}
    if chosen_values.get("gpus_per_trial") == AUTO:
        chosen_values["gpus_per_trial"] = 1.0
    settings = workers.fit(Settings.model_validate(given | chosen_values))
    if settings.warm_start is None:
        return settings
    # A resume may come from another folder.
    return settings.model_copy(update={"warm_start": settings.warm_start.resolve()})


def launch(
    dataset: str | Path,
    name: str | Path,
    say: Say,
    space: str,
    values: Mapping[str, Any],
    address: str | None = None,
    *,
    or_resume: bool = False,
    watching: Watching = unwatched,
) -> RunDir:
    """Starts a run and takes it to its end, on this machine or on the Ray cluster at `address`.

    dataset, name: each a folder, or s3://bucket/prefix. space, values: as `new_settings` takes them. or_resume: goes on
    with the run of this name, as it was set, if there is one: whatever starts this again after a crash need not know.
    watching: entered once the run is there.
    Raises InputError if there is a run of this name otherwise, or if the cluster cannot be used; nothing is written
    then.
    """
    location = locate(name)
    if or_resume and exists(location):
        say(f"{location.name} is there: going on with it as it was set")
        # A sampler of the user's own is named by this very call.
        own_sampler = sampler if ":" in (sampler := values.get("sampler") or "") else None
        return resume(open_run(name), say, Changes(sampler=own_sampler), address, watching=watching)
    refuse_existing_run(location)
    path = find_dataset(dataset)
    with workers_at(address, say) as workers:
        run = _new_run(location, new_settings(path, space, values, workers), workers)
        with _begun(run, say) as driven, _followed(driven, say, watching) as say:
            # First: a run that is there is gone on with, on a host that may not have the dataset.
            _keep_dataset(driven, say)
            driven.update(epoch=driven.keeper.epoch_after(0))
            say(f"`hybridtune dashboard {driven.name}` shows it in the browser")
            if values.get("gpus_per_trial") == AUTO:
                _share_gpus(driven, say, workers)
            take_to_end(driven, say, workers)
    return driven


@contextmanager
def _begun(run: RunDir, say: Say) -> Iterator[RunDir]:
    """As `driving`. What this host has of a new run goes again where nobody could begin to work on it."""
    with ExitStack() as working:
        try:
            driven = working.enter_context(driving(run, say))
        except BaseException:
            if run.kept_in is not None:
                shutil.rmtree(run.path)
            raise
        yield driven


def _keep_dataset(run: RunDir, say: Say) -> None:
    if run.kept_in is not None:
        say(f"keeping the dataset beside the run, in {run.name}")
        run.keep_dataset(said(say, "the dataset"))


def _share_gpus(run: RunDir, say: Say, workers: Workers) -> None:
    """Chooses how many trials share a GPU. A resume of a run that was killed before that gives each a whole one."""
    from hybridtune.search.cluster.shared_dataset import share_dataset
    from hybridtune.search.workers.shared_gpu import trainings_on_a_gpu
    from hybridtune.search.workers.trainable import TrainingContext

    settings, epoch = run.document().settings, run.document().epoch
    most = workers.most_on_a_gpu(settings)
    # Our own Ray has a core for each that may run at a time, and no other.
    workers.start(workers.at_once(settings.model_copy(update={"gpus_per_trial": 1 / max(1, most)})))
    dataset = share_dataset(run.open_dataset(), other_hosts=workers.other_hosts)
    context = TrainingContext(run.place, dataset, settings.budget, settings.hardware, (), epoch)
    count = trainings_on_a_gpu(context, settings.reference, settings.seed, most, workers.avoided(), say)
    say(f"{count} trials share a GPU" if count > 1 else "each trial has a GPU of its own")
    shared = workers.fit(settings.model_copy(update={"gpus_per_trial": 1 / count}))
    run.update(settings=shared.model_dump())


def _new_run(location: Location, settings: Settings, workers: Workers) -> RunDir:
    from hybridtune.search.study.sampler import check_sampler
    from hybridtune.search.study.warm_start import check_warm_start

    dataset = settings.only_horizons(Dataset(settings.dataset))
    # A second or so, once; hours of search on damaged bars would tell nobody.
    dataset.verify()
    check_sampler(settings.sampler)
    if settings.warm_start is not None:
        check_warm_start(settings.warm_start, settings, dataset.info.fingerprint)
    run = create_run(location, settings, dataset.info.fingerprint)
    try:
        workers.refuse_unreachable(run.place)
    except BaseException:
        shutil.rmtree(run.path)
        raise
    return run


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a resume changes; None leaves what the run was started with."""

    more_trials: int = 0
    """Extends the search, finished or not."""
    more_seconds: float | None = None
    """How long the search may still take."""
    concurrent: int | None = None
    device: DeviceChoice | None = None
    precision: PrecisionChoice | None = None
    """Where the one that was chosen then is not there."""
    gpus_per_trial: float | None = None
    sampler: str | None = None
    """A sampler of the user's own has to be named again, as the run directory may be somebody else's: to name it is to
    run its code.
    """

    @property
    def extends(self) -> bool:
        return self.more_trials > 0 or self.more_seconds is not None


@contextmanager
def _followed(run: RunDir, say: Say, watching: Watching) -> Iterator[Say]:
    with logged(run.log, say) as say_and_log:
        say_and_log(f"all that is said here is in {run.log} too, with what Ray and Optuna say")
        with watching(run):
            yield say_and_log


def resume(
    run: RunDir,
    say: Say,
    changes: Changes | None = None,
    address: str | None = None,
    *,
    watching: Watching = unwatched,
) -> RunDir:
    """Goes on with a run that was stopped, or extends its search, on this machine or on the Ray cluster at `address`.

    Raises InputError if its dataset is gone or is not the one that it was started with, if GPUs are missing, if its own
    sampler is not named, if more trials are to be run in no more time, if another process works on the run, or if the
    cluster cannot be used; nothing is changed then.
    """
    changes = changes or Changes()
    run.open_dataset().verify()
    with workers_at(address, say) as workers:
        fitted = _usable(run, changes, workers)
        with driving(run, say) as driven, _followed(driven, say, watching) as say:
            _go_on(driven, say, changes, workers, fitted.precision)
    return driven


def _go_on(run: RunDir, say: Say, changes: Changes, workers: Workers, precision: PrecisionChoice) -> None:
    # Read again, as another process may have worked on the run until now.
    settings = _changed(run, changes).model_copy(update={"precision": precision})
    status = _status_to_go_on_from(run, changes)
    if status != "done":
        workers.refuse_unreachable(run.place)
    _say_other_versions(run, say)
    if changes.extends and run.ensemble.exists():
        say("the search goes on; its result so far stays until there is a new one")
    run.remove_leftovers()
    epoch = run.keeper.epoch_after(run.document().epoch)
    run.update(settings=settings.model_dump(), status=status, error=None, epoch=epoch)
    if status != "done":
        _keep_dataset(run, say)
    take_to_end(run, say, workers)


def _usable(run: RunDir, changes: Changes, workers: Workers) -> Settings:
    settings, status = _changed(run, changes), _status_to_go_on_from(run, changes)
    if status == "searching":
        _refuse_unnamed_sampler(settings.sampler, changes.sampler)
    return settings if status == "done" else workers.fit(settings)


def _changed(run: RunDir, changes: Changes) -> Settings:
    """Raises pydantic's ValidationError naming the field for what cannot be used, and InputError for more trials in no
    more time.
    """
    before = run.document().settings
    chosen = {name: getattr(changes, name) for name in ("concurrent", "device", "precision", "gpus_per_trial")}
    values = {name: value for name, value in chosen.items() if value is not None}
    if changes.more_seconds is not None:
        values["time_budget"] = _searched_seconds(run) + changes.more_seconds
    elif changes.more_trials and before.time_budget is not None and _searched_seconds(run) >= before.time_budget:
        raise InputError(
            f"the time budget of {before.time_budget:g} seconds is spent: more trials want --time-budget too"
        )
    return Settings.model_validate(before.model_dump() | values | {"trials": before.trials + changes.more_trials})


def _status_to_go_on_from(run: RunDir, changes: Changes) -> Status:
    status = run.document().status
    if changes.extends or status == "failed":
        return "searching"
    # What was taken away is made again.
    return "retraining" if status == "done" and not run.ensemble.exists() else status


def _refuse_unnamed_sampler(sampler: str, named: str | None) -> None:
    from hybridtune.search.study.sampler import SAMPLERS, check_sampler

    if named not in (None, sampler):
        raise InputError(f"the run was searched with sampler {sampler}, a resume keeps it: leave out --sampler {named}")
    if sampler not in SAMPLERS and named is None:
        raise InputError(f"the run has a sampler of its own, whose code would be run: name it with --sampler {sampler}")
    check_sampler(sampler)


def _say_other_versions(run: RunDir, say: Say) -> None:
    then, now = run.document().versions, versions()
    others = [f"{name} {then.get(name)} (this is {now[name]})" for name in now if then.get(name) != now[name]]
    if others:
        say(f"this run was started with {', '.join(others)}: its trials may differ a little from those to come")


def _searched_seconds(run: RunDir) -> float:
    from hybridtune.search.study.stopping import searched_seconds
    from hybridtune.search.study.study import open_study

    return searched_seconds(open_study(run))


def take_to_end(run: RunDir, say: Say, workers: Workers) -> None:
    """Every stage finds what it did already in the run directory, so a stage that was cut short is repeated.

    The caller holds the run's lock.
    """
    from hybridtune.search.workers.failures import plain_error

    with workers.watched(partial(_leave, run)):
        while (status := run.document().status) != "done":
            stage, following = _stages()[status]
            try:
                stage(run, say, workers)
            except Exception as error:
                plain = plain_error(run, error)
                # Where nothing can be written, the status of before says as well where to go on.
                with suppress(OSError, PlaceError, DeposedError):
                    run.update(status="failed", error=str(plain))
                if plain is error:
                    raise
                raise plain from error
            run.keeper.flush()
            run.keeper.keep(*copies.RESULTS)
            run.update(status=following)


def _leave(run: RunDir, why: str) -> str:
    line = f"{why}: once it is back, `hybridtune resume {run.name}` goes on"
    with suppress(OSError, PlaceError, DeposedError):
        run.update(error=line)
        run.keeper.end()
    return line


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
