"""The search: Tune runs the trials, Optuna guides them, ASHA stops the weak ones."""

import optuna
from optuna.trial import TrialState
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.result import EXPR_ERROR_FILE

from hybridtune.search.cluster.shared_dataset import share_dataset
from hybridtune.search.cluster.workers import Workers
from hybridtune.search.run.run_dir import TRIALS, RunDir, trial_name
from hybridtune.search.run.say import Say
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.backup import back_up
from hybridtune.search.study.halving import halving_of
from hybridtune.search.study.rungs import rungs_of, waits_at
from hybridtune.search.study.stopping import StoppingRule
from hybridtune.search.study.study import best_first, create_study, started
from hybridtune.search.study.trials_table import write_tables
from hybridtune.search.study.warm_start import warm_start
from hybridtune.search.tuning.recorder import Recorder
from hybridtune.search.tuning.scheduler import Asha
from hybridtune.search.tuning.searcher import StudySearcher
from hybridtune.search.workers.callback import TrainingCallback
from hybridtune.search.workers.checkpoint import checkpoints, remove_checkpoints
from hybridtune.search.workers.tasks import run_tasks
from hybridtune.search.workers.trainable import TrainingContext, TrialTask, run_trial


class SearchFailedError(RuntimeError):
    """No trial was trained to its end."""


class SearchUnfinishedError(RuntimeError):
    """Tune ended the search before its trials did."""


def search(run: RunDir, say: Say, workers: Workers) -> None:
    """Runs the trials that the run's settings ask for and its study does not have yet.

    Raises SearchFailedError with the first failure if no trial is complete then, and SearchUnfinishedError if trials
    are left though no limit was reached.
    """
    settings = run.document().settings
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = create_study(run, settings.space, settings.metric)
    if settings.warm_start is not None:
        warm_start(study, settings)
    wanted = settings.wanted_trials
    stopping = StoppingRule(study, settings.time_budget, settings.stop_after, wanted)
    left = wanted - sum(t.state.is_finished() for t in started(study))
    if left > 0 and (reason := stopping.reached()) and (stopping.stops_running() or not _under_way(study)):
        say(f"search: no further trial, {reason}")
    elif left > 0:
        rungs = rungs_of(settings)
        waiting = sum(waits_at(t) is not None for t in started(study))
        say(
            f"search: {left - waiting} trials {f'and {waiting} that wait ' if waiting else ''}"
            f"of up to {settings.iterations} iterations, {workers.at_once(settings)} at a time; "
            f"rungs at {', '.join(map(str, rungs)) or 'none'}"
        )
        workers.start(workers.at_once(settings))
        _run_trials(run, settings, study, rungs, stopping, say, workers)
        left = wanted - sum(t.state.is_finished() or waits_at(t) is not None for t in started(study))
        reason = stopping.reached()
        if left > 0 and (reason is None or (_under_way(study) and not stopping.stops_running())):
            raise SearchUnfinishedError(
                f"the search was ended from outside with {left} of its {wanted} trials left: "
                f"`hybridtune resume {run.name}` goes on"
            )
        if left > 0:
            say(f"the search ends early: {reason}")
    back_up(run)
    run.keeper.keep_search()
    run.keeper.flush()
    _remove_left_checkpoints(run, study)
    write_tables(run, study)
    _refuse_failure(run, study)


def _remove_left_checkpoints(run: RunDir, study: optuna.Study) -> None:
    """Of attempts that were given up and went on writing."""
    over = {t.number for t in started(study) if t.state in (TrialState.COMPLETE, TrialState.PRUNED)}
    with_some = {name.rpartition("/")[0] for name in checkpoints(run.place, TRIALS)}
    for folder in with_some & {trial_name(number) for number in over}:
        remove_checkpoints(run.place, folder, run.document().epoch)


def _under_way(study: optuna.Study) -> bool:
    return any(not trial.state.is_finished() and waits_at(trial) is None for trial in started(study))


def _run_trials(
    run: RunDir,
    settings: Settings,
    study: optuna.Study,
    rungs: tuple[int, ...],
    stopping: StoppingRule,
    say: Say,
    workers: Workers,
) -> None:
    halving = halving_of(settings, started(study))
    searcher = StudySearcher(
        study,
        settings.space,
        settings.wanted_trials,
        lambda: workers.at_once(settings),
        settings.seed,
        halving,
        settings.sampler,
        enough=lambda: stopping.reached() is not None,
    )
    context = TrainingContext(
        run.place,
        share_dataset(run.open_dataset(), other_hosts=workers.other_hosts),
        settings.budget,
        settings.hardware,
        rungs,
        run.document().epoch,
    )
    run_tasks(
        tune.with_parameters(run_trial, context=context, seed=settings.seed),
        searcher,
        TrainingCallback(
            TrialTask.from_tune,
            searcher,
            Recorder(
                run,
                study,
                settings.wanted_trials,
                rungs,
                stopping,
                say,
                halving,
                lambda: workers.at_once(settings),
            ),
            settings,
            workers,
            run.keeper,
            say,
        ),
        run.tune,
        trial_folder,
        Asha(halving, stopping.stops_running, settings.gpus_per_trial, workers.avoided),
    )


def trial_folder(trial: Trial) -> str:
    return f"trial_{TrialTask.from_tune(trial.config).number:05d}"


def _refuse_failure(run: RunDir, study: optuna.Study) -> None:
    if best_first(study):
        return
    message = f"none of {len(started(study))} trials was trained to its end"
    failed = next((trial for trial in started(study) if "failure" in trial.user_attrs), None)
    if failed is not None:
        message += f": {failed.user_attrs['failure']}"
        tracebacks = run.trial(failed.number) / EXPR_ERROR_FILE
        if tracebacks.exists():
            message += f"; traceback in {tracebacks}"
    raise SearchFailedError(message)
