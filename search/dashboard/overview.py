"""What the dashboard shows of a run: everything is read from its files, nothing is asked of the search."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict

from hybridtune.models.training.config import Metric, higher_is_better
from hybridtune.search.dashboard.estimate import Estimate
from hybridtune.search.dashboard.time_left import TimeLeft
from hybridtune.search.run.run_dir import RunDir, RunDocument, Status
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.rungs import decided_rungs, rungs_of
from hybridtune.search.study.standing import last_iteration
from hybridtune.search.study.stopping import searched_seconds
from hybridtune.search.study.study import Tried, config_of, of_search, ranked, state_of, states
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
    """The objective of the reference configuration, once that is complete."""
    reference_params: Config

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
    tried: int
    """Distinct configurations, a warm start's included."""
    searched_seconds: float
    best: Best | None
    leaders: tuple[Leader, ...]
    """The best of those that are complete."""
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


class Known:
    """What one look at a run leaves to the next."""

    def __init__(self) -> None:
        self.estimate = Estimate()
        self.tried = Tried()
        self._ended: dict[int, int] = {}

    def last_iterations(self, trials: Sequence[FrozenTrial]) -> dict[int, int]:
        """By the numbers of the trials. One that has ended is asked once."""
        for trial in trials:
            if trial.number not in self._ended and trial.state.is_finished():
                self._ended[trial.number] = last_iteration(trial)
        return self._ended | {t.number: last_iteration(t) for t in trials if t.number not in self._ended}


def overview(run: RunDir, study: optuna.Study | None, known: Known, *, driven: bool) -> Overview:
    """study: None before there is one. known: of this run. driven: whether a process works on it."""
    document = run.document()
    settings = document.settings
    # Once: each time, the file is asked which of them have changed.
    everything = study.get_trials(deepcopy=False) if study is not None else []
    trials = of_search(everything)
    leaders = list(islice(ranked(trials, study.direction), LEADERS)) if study is not None else []
    running = [trial for trial in trials if state_of(trial) == "running"]
    searching = driven and document.status == "searching"
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    last = known.last_iterations(trials)
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
        states=states(trials),
        tried=known.tried(study, everything) if study is not None else 0,
        searched_seconds=searched_seconds(study) if study is not None else 0.0,
        best=_best(trials, leaders),
        leaders=tuple(map(_leader, leaders)),
        curves=_curves(trials, leaders, running),
        rungs=_rungs(trials, last, settings),
        hosts=_hosts(trials),
        failures=tuple((trial.number, _first_line(trial)) for trial in failed[: -FAILURES - 1 : -1]),
        failed=len(failed),
        samples_per_second=_samples_per_second(study, sum(last.values()), settings) if study is not None else None,
        members_wanted=_members_wanted(run),
        members=len(list((run.path / "members").glob("*/member.json"))),
        reported=run.report.exists(),
        time_left=known.estimate(study, trials, settings) if searching and study is not None else None,
        again=len(running),
        next_command=_next_command(run.name, document, driven=driven),
    )


def _best(trials: Sequence[FrozenTrial], leaders: Sequence[FrozenTrial]) -> Best | None:
    if not leaders:
        return None
    first = leaders[0]
    assert first.value is not None
    # Trial 0 is the reference configuration, in every search.
    reference = trials[0]
    return Best(
        trial=first.number,
        objective=first.value,
        params=config_of(first),
        reference=reference.value,
        reference_params=config_of(reference),
    )


def _leader(trial: FrozenTrial) -> Leader:
    assert trial.value is not None
    return Leader(trial=trial.number, objective=trial.value, iterations=last_iteration(trial))


def _curves(
    trials: Sequence[FrozenTrial], leaders: Sequence[FrozenTrial], running: Sequence[FrozenTrial]
) -> tuple[Curve, ...]:
    shown = {trials[0].number: ("reference", trials[0])} if trials else {}
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


def _rungs(trials: Sequence[FrozenTrial], last: Mapping[int, int], settings: Settings) -> tuple[Rung, ...]:
    pick = max if higher_is_better(settings.metric) else min
    return tuple(
        Rung(
            iteration=iteration,
            reached=len(values),
            went_on=sum(last[number] > iteration for number in values),
            best=pick(values.values(), default=None),
        )
        for iteration, values in decided_rungs(trials, rungs_of(settings)).items()
    )


def _hosts(trials: Sequence[FrozenTrial]) -> tuple[HostShown, ...]:
    by_host: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        if "host" in trial.user_attrs:
            by_host.setdefault(str(trial.user_attrs["host"]), []).append(trial)
    return tuple(
        HostShown(
            host=host,
            runs_on=str(here[-1].user_attrs.get("runs_on", "")),
            trials=tuple(trial.number for trial in here if state_of(trial) == "running"),
            ended=sum(trial.state.is_finished() for trial in here),
        )
        for host, here in sorted(by_host.items())
    )


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


def _next_command(run: str, document: RunDocument, *, driven: bool) -> str:
    if document.status == "done":
        return f"hybridtune export {run} bundle"
    return f"hybridtune stop {run}" if driven else f"hybridtune resume {run}"
