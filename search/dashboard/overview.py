"""What the dashboard shows of a run: everything is read from its files, nothing is asked of the search."""

import json
from collections.abc import Sequence
from copy import deepcopy
from itertools import islice

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict

from hybridtune.models.training.config import Metric
from hybridtune.search.dashboard.estimate import Estimate
from hybridtune.search.dashboard.tally import Tally
from hybridtune.search.dashboard.time_left import TimeLeft
from hybridtune.search.run.run_dir import RunDir, RunDocument, Status
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.standing import last_iteration
from hybridtune.search.study.stopping import searched_seconds
from hybridtune.search.study.study import (
    RUNNING,
    WAITING,
    Tried,
    config_of,
    counted_states,
    is_of_search,
    objective_of,
    of_search,
    ranked,
    state_of,
)
from hybridtune.search.study.until_ended import UntilEnded
from hybridtune.spaces.parameters import Config, Scalar

CURVE_POINTS = 50
"""Of a running trial, the last so many."""
FAILURES = 5
LEADERS = 10


class Shown(BaseModel):
    model_config = ConfigDict(frozen=True)


class Curve(Shown):
    trial: int
    role: str
    """best, reference or running."""
    points: tuple[tuple[int, float], ...]
    """(iteration, objective)"""


class Rung(Shown):
    iteration: int
    reached: int
    went_on: int
    """Of them, those that were trained beyond it."""
    best: float | None


class Best(Shown):
    trial: int
    objective: float
    params: Config
    reference: float | None
    """The objective of the reference configuration, once that has ended."""
    reference_stopped: int | None
    """The iteration at which it was, and so the one that this objective is of; None if it was trained to its end."""
    reference_params: Config

    @property
    def reference_in_words(self) -> str | None:
        """None where it has no objective, or is the best itself."""
        if self.reference is None or not self.different:
            return None
        stopped = "" if self.reference_stopped is None else f"stopped at iteration {self.reference_stopped}: "
        return f"reference {stopped}{self.reference:.4f}"

    @property
    def different(self) -> list[tuple[str, Scalar | None, Scalar | None]]:
        """Name and value in both, of the parameters in which it differs from the reference configuration; None where
        one has no such parameter.
        """
        both = (
            (name, self.params.get(name), self.reference_params.get(name))
            for name in self.params | self.reference_params
        )
        return [(name, best, reference) for name, best, reference in both if best != reference]


class Leader(Shown):
    trial: int
    objective: float
    iterations: int


class HostShown(Shown):
    host: str
    runs_on: str
    trials: tuple[int, ...]
    """Those that run there now."""
    ended: int


class Overview(Shown):
    run: str
    status: Status
    error: str | None
    driven: bool
    """Whether a process works on it."""
    metric: Metric
    space: str
    seed: int
    dataset: str
    wanted: int
    states: dict[str, int]
    ended: int
    """How many trials are over; one that waits is, once the search is."""
    tried: int
    """Distinct configurations, a warm start's included."""
    searched_seconds: float
    best: Best | None
    leaders: tuple[Leader, ...]
    """The best of those that are complete, and once the search is over of those that wait."""
    curves: tuple[Curve, ...]
    rungs: tuple[Rung, ...]
    hosts: tuple[HostShown, ...]
    failures: tuple[tuple[int, str], ...]
    """Trial and first line, the latest."""
    failed: int
    samples_per_second: float | None
    """Anchors that the search has trained on, of all trials together."""
    members: int
    """Finalists that are trained."""
    members_wanted: int | None
    """None before they are chosen."""
    reported: bool
    """Whether there is a report."""
    time_left: TimeLeft | None
    """Of the search."""
    again: int
    """Iterations, at most, that a resume would train anew."""
    next_command: str

    @property
    def stage(self) -> str:
        """For people."""
        return stage_in_words(self.status, driven=self.driven)


def stage_in_words(status: Status, *, driven: bool) -> str:
    return status if driven or status in ("done", "failed") else f"stopped while {status}"


class Known:
    """What one look at a run leaves to the next, which then costs what is new and no more."""

    def __init__(self) -> None:
        self.estimate = Estimate()
        self.tried = Tried()
        self.leaders: list[FrozenTrial] = []
        """The best of those that are complete."""
        self.failed: list[FrozenTrial] = []
        """The latest."""
        self.under_way: list[FrozenTrial] = []
        self._until_ended = UntilEnded()
        self._ended: Tally | None = None

    def look(self, study: optuna.Study, trials: Sequence[FrozenTrial], settings: Settings) -> Tally:
        """trials: all of the study."""
        ended, not_ended = map(of_search, self._until_ended.look(trials))
        self.leaders = list(islice(ranked([*self.leaders, *ended], study.direction, over=False), LEADERS))
        failed = [trial for trial in ended if trial.state == TrialState.FAIL]
        self.failed = sorted([*self.failed, *failed], key=lambda trial: -trial.number)[:FAILURES]
        self.under_way = not_ended
        self._ended = self._ended or Tally(settings)
        for trial in ended:
            self._ended.add(trial)
        tally = deepcopy(self._ended)
        for trial in not_ended:
            tally.add(trial)
        return tally

    def best_first(self, study: optuna.Study, *, over: bool) -> list[FrozenTrial]:
        """Of what was found at the last look."""
        return list(islice(ranked([*self.leaders, *self.under_way], study.direction, over=over), LEADERS))


def overview(run: RunDir, study: optuna.Study | None, known: Known, *, driven: bool) -> Overview:
    """study: None before there is one. known: of this run. driven: whether a process works on it."""
    document = run.document()
    settings = document.settings
    # Once: each time, the file is asked which of them have changed.
    trials = study.get_trials(deepcopy=False) if study is not None else []
    tally = known.look(study, trials, settings) if study is not None else Tally(settings)
    reference = next(filter(is_of_search, trials), None)
    running = [trial for trial in known.under_way if state_of(trial) == RUNNING]
    over = document.status != "searching"
    leaders = known.best_first(study, over=over) if study is not None else []
    return Overview(
        run=run.name,
        status=document.status,
        error=document.error,
        driven=driven,
        metric=settings.metric,
        space=settings.space_name,
        seed=settings.seed,
        dataset=document.dataset_fingerprint,
        wanted=settings.wanted_trials,
        states=counted_states(tally.states),
        ended=sum(count for state, count in tally.states.items() if over or state not in (RUNNING, WAITING)),
        tried=known.tried(study, trials) if study is not None else 0,
        searched_seconds=searched_seconds(study) if study is not None else 0.0,
        best=_best(reference, leaders),
        leaders=tuple(map(_leader, leaders)),
        curves=_curves(reference, leaders, running),
        rungs=tuple(
            Rung(iteration=iteration, reached=rung.reached, went_on=rung.went_on, best=rung.best)
            for iteration, rung in tally.rungs.items()
        ),
        hosts=tuple(
            HostShown(host=name, runs_on=host.runs_on, trials=tuple(host.running), ended=host.ended)
            for name, host in sorted(tally.hosts.items())
        ),
        failures=tuple((trial.number, _first_line(trial)) for trial in known.failed),
        failed=tally.states["failed"],
        samples_per_second=_samples_per_second(study, tally.iterations, settings) if study is not None else None,
        members_wanted=_members_wanted(run),
        members=len(list((run.path / "members").glob("*/member.json"))),
        reported=run.report.exists(),
        time_left=known.estimate(study, trials, settings) if driven and not over and study is not None else None,
        again=len(running),
        next_command=next_command(run.name, document, driven=driven),
    )


def _best(reference: FrozenTrial | None, leaders: Sequence[FrozenTrial]) -> Best | None:
    """reference: the first trial, which is the reference configuration in every search."""
    if not leaders or reference is None:
        return None
    first = _leader(leaders[0])
    return Best(
        trial=first.trial,
        objective=first.objective,
        params=config_of(leaders[0]),
        reference=reference.value,
        reference_stopped=last_iteration(reference) if reference.state == TrialState.PRUNED else None,
        reference_params=config_of(reference),
    )


def _leader(trial: FrozenTrial) -> Leader:
    objective = objective_of(trial)
    assert objective is not None
    return Leader(trial=trial.number, objective=objective, iterations=last_iteration(trial))


def _curves(
    reference: FrozenTrial | None, leaders: Sequence[FrozenTrial], running: Sequence[FrozenTrial]
) -> tuple[Curve, ...]:
    shown = {reference.number: ("reference", reference)} if reference is not None else {}
    if leaders:
        shown[leaders[0].number] = ("best", leaders[0])
    for trial in running:
        shown.setdefault(trial.number, ("running", trial))
    return tuple(
        Curve(trial=number, role=role, points=_points(trial, None if role != "running" else CURVE_POINTS))
        for number, (role, trial) in sorted(shown.items())
        if trial.intermediate_values
    )


def _points(trial: FrozenTrial, last: int | None) -> tuple[tuple[int, float], ...]:
    points = sorted(trial.intermediate_values.items())
    return tuple(points if last is None else points[-last:])


def _samples_per_second(study: optuna.Study, iterations: int, settings: Settings) -> float | None:
    """iterations: of all trials together."""
    seconds = searched_seconds(study)
    return settings.samples_per_iteration * iterations / seconds if seconds > 0 else None


def _members_wanted(run: RunDir) -> int | None:
    try:
        return len(json.loads(run.chosen_members.read_bytes())["members"])
    except FileNotFoundError:
        return None


def _first_line(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("failure", "it did not say why")).strip().splitlines()[0]


def next_command(run: str, document: RunDocument, *, driven: bool) -> str:
    if document.status == "done":
        return f"hybridtune export {run} bundle"
    return f"hybridtune stop {run}" if driven else f"hybridtune resume {run}"
