"""What the dashboard shows of one trial."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from hybridtune.search.dashboard.overview import Curve, Shown
from hybridtune.search.run.curves import read_curves
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.study.study import config_of, objective_of, state_of
from hybridtune.spaces.parameters import Config

ROWS = 100
"""Of the curve's table, the last so many."""


class Point(Shown):
    iteration: int
    train_loss: float
    tune_loss: float
    tune_auc: float
    seconds: float


class TrialShown(Shown):
    run: str
    trial: int
    before: int | None
    after: int | None
    """The trials beside it."""
    state: str
    objective: float | None
    params: Config
    facts: dict[str, str]
    """Where it ran, and what happened to it."""
    failure: str | None
    curve: Curve
    points: tuple[Point, ...]


def trial_shown(run: RunDir, trials: Sequence[FrozenTrial], number: int) -> TrialShown | None:
    """trials: all of the run, by number. None if there is none of that number."""
    numbers = [trial.number for trial in trials]
    if number not in numbers:
        return None
    place = numbers.index(number)
    trial = trials[place]
    rows = read_curves(run.curve_log)
    rows = rows[rows["trial"] == trial.number].tail(ROWS)
    return TrialShown(
        run=run.name,
        trial=trial.number,
        before=numbers[place - 1] if place > 0 else None,
        after=numbers[place + 1] if place + 1 < len(numbers) else None,
        state=state_of(trial),
        objective=objective_of(trial),
        params=config_of(trial),
        facts=_facts(trial),
        failure=trial.user_attrs.get("failure"),
        curve=Curve(trial=trial.number, role="best", points=tuple(sorted(trial.intermediate_values.items()))),
        points=tuple(map(Point.model_validate, rows[list(Point.model_fields)].to_dict("records"))),
    )


def _facts(trial: FrozenTrial) -> dict[str, str]:
    names = {
        "host": "host",
        "runs_on": "on",
        "micro_batch": "anchors at once",
        "retries": "tried again after a failure",
        "hosts_lost": "tried again after its host was lost",
    }
    found = {words: str(trial.user_attrs[name]) for name, words in names.items() if name in trial.user_attrs}
    if trial.datetime_start is not None:
        found["started"] = f"{trial.datetime_start:%Y-%m-%d %H:%M:%S}"
    if trial.datetime_complete is not None:
        found["ended"] = f"{trial.datetime_complete:%Y-%m-%d %H:%M:%S}"
    return found
