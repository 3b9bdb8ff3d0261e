"""Keeps what Tune reports: curve points, TensorBoard events, retries, and lines for the terminal."""

import time
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune import Callback
from ray.tune.experiment import Trial

from models.fit import TrainConfig
from search.backup import back_up
from search.console import Say
from search.events import EventFile
from search.limits import Limits
from search.retries import Retries, last_failure, raised
from search.run_dir import RunDir
from search.searcher import StudySearcher
from search.study import best_first, started
from search.tables import append_curve_point
from search.trainable import CHECKPOINT

HEARTBEAT_SECONDS = 15.0
SCALARS = ("train_loss", "tune_loss", "tune_auc", "objective")


class Recorder(Callback):  # type: ignore[misc]
    """The one place of the driver that sees every report of a search, including a trial's last."""

    def __init__(
        self,
        run: RunDir,
        study: optuna.Study,
        searcher: StudySearcher,
        trials: int,
        rungs: tuple[int, ...],
        limits: Limits,
        say: Say,
    ) -> None:
        self._run = run
        self._rungs = rungs
        self._limits = limits
        self._study = study
        self._searcher = searcher
        self._trials = trials
        self._say = say
        self._retries = Retries()
        settings = run.document().settings
        self._micro_batch = settings.micro_batch
        self._heartbeat = Heartbeat(say, settings.iterations)
        self._hardware = HardwareLines(say, settings.micro_batch)
        self._traceback_shown = False
        self._events: dict[int, EventFile] = {}

    def on_trial_start(self, trial: Trial, **info: Any) -> None:  # noqa: ARG002
        number, reported = trial.config["number"], trial.config["reported"]
        self._events[number] = EventFile(self._run.trial(number))
        again = f" again after iteration {reported}" if reported else ""
        self._say(f"trial {number} starts{again}: {describe(trial.config['flat'])}")

    def on_trial_result(self, trial: Trial, result: dict[str, Any], **info: Any) -> None:  # noqa: ARG002
        if result["failure"] is not None:
            return
        number = trial.config["number"]
        self._retries.look(f"trial {number}", result["iteration"])
        append_curve_point(self._run.curve_log, number, result)
        self._events[number].add(result["iteration"], {name: result[name] for name in SCALARS})
        if result["iteration"] in self._rungs:
            back_up(self._run)
        self._hardware.look(f"trial {number}", trial.config["flat"], result)
        self._heartbeat.beat(f"trial {number}", result["iteration"], result["objective"])

    def on_trial_complete(self, trial: Trial, **info: Any) -> None:  # noqa: ARG002
        self._end(trial.config["number"])

    def on_trial_error(self, trial: Trial, **info: Any) -> None:  # noqa: ARG002
        number, failure = trial.config["number"], last_failure(trial)
        retry = self._retries.after(f"trial {number}", trial, trial.config["flat"], self._micro_batch)
        if retry is not None:
            self._searcher.again(trial.trial_id, retry.micro_batch)
            self._close_events(number)
            self._say(f"trial {number} {retry.words}")
            return
        if raised(failure) and not self._traceback_shown:
            # The others are most often the same.
            self._say(f"the first traceback: {failure}")
            self._traceback_shown = True
        self._searcher.fail(trial.trial_id, raised(failure) or "its worker was lost")
        self._end(number)

    def _end(self, number: int) -> None:
        ended = self._study.get_trials(deepcopy=False)[number]
        if ended.state != TrialState.FAIL:
            # Only a trial under way needs its checkpoint, as the finalists are trained anew; a failed one keeps what
            # was good to the last, for who wants to know why.
            (self._run.trial(number) / CHECKPOINT).unlink(missing_ok=True)
        self._close_events(number)
        self._heartbeat.forget(f"trial {number}")
        self._limits.save()
        back_up(self._run)
        done = sum(t.state.is_finished() for t in started(self._study))
        best = best_first(self._study)
        so_far = f"best so far {best[0].value:.4f} (trial {best[0].number})" if best else "none complete yet"
        self._say(f"trial {number} {describe_end(ended)}; {done} of {self._trials} done; {so_far}")

    def _close_events(self, number: int) -> None:
        # There are none of a trial whose worker was lost before it began.
        if events := self._events.pop(number, None):
            events.close()


class Heartbeat:
    """Now and then, a line that says where the running trainings are."""

    def __init__(self, say: Say, iterations: int) -> None:
        self._say = say
        self._iterations = iterations
        self._running: dict[str, str] = {}
        self._last = time.monotonic()

    def beat(self, name: str, iteration: int, objective: float) -> None:
        self._running[name] = f"{name} at {iteration}/{self._iterations} ({objective:.4f})"
        if time.monotonic() - self._last >= HEARTBEAT_SECONDS:
            self._last = time.monotonic()
            self._say(f"running: {', '.join(self._running.values())}")

    def forget(self, name: str) -> None:
        self._running.pop(name, None)


class HardwareLines:
    """Says once what the trainings run on, and when one ran out of memory."""

    def __init__(self, say: Say, micro_batch: int | None) -> None:
        self._say = say
        self._asked = micro_batch
        self._runs_on: set[str] = set()
        self._lowered: dict[str, int] = {}

    def look(self, name: str, flat: dict[str, Any], result: dict[str, Any]) -> None:
        if result["runs_on"] not in self._runs_on:
            self._runs_on.add(result["runs_on"])
            self._say(f"training on {result['runs_on']}")
        anchors, batch = result["micro_batch"], flat.get("batch_size", TrainConfig.batch_size)
        if anchors < self._lowered.get(name, min(self._asked or batch, batch)):
            self._lowered[name] = anchors
            self._say(f"{name} ran out of memory: {anchors} anchors at a time now, {batch} a step as before")


def describe(flat: dict[str, Any]) -> str:
    values = ((k, f"{v:.2g}" if isinstance(v, float) else v) for k, v in flat.items())
    return ", ".join(f"{name}={value}" for name, value in values)


def describe_end(trial: FrozenTrial) -> str:
    last = max(trial.intermediate_values, default=0)
    match trial.state:
        case TrialState.COMPLETE:
            return f"complete after iteration {last}: {trial.value:.4f}"
        case TrialState.PRUNED:
            return f"stopped at iteration {last}: {trial.value:.4f}"
        case _:
            return f"failed: {trial.user_attrs.get('failure')}"
