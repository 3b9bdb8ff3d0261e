"""What is seen of a run piece by piece is what is seen of it at once."""

from pathlib import Path

import optuna
from optuna.trial import TrialState, create_trial
from rich.console import Console

from hybridtune.search.cli.live import render
from hybridtune.search.dashboard.overview import FAILURES, LEADERS, Known, Overview, overview
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.rungs import WAITS_AT
from hybridtune.search.study.study import WARM_START, ask, create_study, reopen, report_value, tell
from hybridtune.spaces.hybrid import HYBRID

TRIALS = 30


def new_run(folder: Path) -> RunDir:
    settings = Settings(
        dataset=folder,
        dimensions=dict(HYBRID.dimensions),
        reference=HYBRID.reference,
        trials=TRIALS,
        iterations=9,
        grace_period=1,
        scheduler="promotion",
        sampler="random",
    )
    return RunDir.create(folder / "run", settings, "none")


def seen(run: RunDir, study: optuna.Study, known: Known) -> Overview:
    # Two moments are compared: what the clock alone changes is left out.
    return overview(run, study, known, driven=True).model_copy(
        update={"searched_seconds": 0.0, "samples_per_second": None}
    )


def test_every_step_is_seen_by_who_has_looked_before_and_by_who_has_not(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    study = create_study(run, HYBRID, "tune_loss")
    study.add_trial(create_trial(value=0.1, intermediate_values={1: 0.1}, user_attrs={WARM_START: 3}))
    early, looks = Known(), []

    def look() -> None:
        looks.append(seen(run, study, early))
        assert looks[-1] == seen(run, study, Known())

    look()
    reference = ask(study, HYBRID, 0, "random")
    look()
    report_value(reference, 1, 0.5)
    look()
    tell(study, reference, TrialState.COMPLETE, 0.5)
    look()
    waiting = []
    for number in range(2, TRIALS + 1):
        trial = ask(study, HYBRID, 0, "random")
        assert trial.number == number
        trial.set_user_attr("host", f"10.0.0.{number % 3}")
        trial.set_user_attr("runs_on", f"device {number}")
        look()
        report_value(trial, 1, 0.7 - number / 100)
        if number % 4 == 0:
            trial.set_user_attr("failure", f"failure {number}\nand more")
            tell(study, trial, TrialState.FAIL)
        elif number % 4 == 1:
            report_value(trial, 3, 0.6 + number / 100)
            tell(study, trial, TrialState.COMPLETE, 0.6 + number / 100)
        else:
            trial.set_user_attr(WAITS_AT, 1)
            waiting.append(number)
        look()
        if number % 6 == 0:
            again = reopen(study, study.get_trials()[waiting.pop(0)], HYBRID)
            again.set_user_attr(WAITS_AT, None)
            look()
            report_value(again, 3, 0.65)
            tell(study, again, TrialState.PRUNED)
            look()
    last = looks[-1]
    assert last.states == {"complete": 8, "pruned": 5, "failed": 7, "running": 0, "waiting": 10}
    assert last.ended == 20
    assert overview(run, study, Known(), driven=False).stage == "stopped while searching"
    run.update(status="retraining")
    assert overview(run, study, early, driven=True).ended == 30
    assert [number for number, _ in last.failures] == [28, 24, 20, 16, 12][:FAILURES]
    assert last.failures[0] == (28, "failure 28")
    assert last.failed == 7
    assert len(last.leaders) == 8 < LEADERS
    assert [leader.trial for leader in last.leaders[:2]] == [0, 5]
    # The failed ones have no place at a rung.
    assert [(rung.iteration, rung.reached, rung.went_on) for rung in last.rungs] == [(1, 23, 12), (3, 12, 0)]
    assert [(host.host, host.runs_on, host.trials) for host in last.hosts] == [
        ("10.0.0.0", "device 30", ()),
        ("10.0.0.1", "device 28", ()),
        ("10.0.0.2", "device 29", ()),
    ]
    assert sum(host.ended for host in last.hosts) == 19


def test_the_reference_is_said_to_be_stopped_where_it_was(tmp_path: Path) -> None:
    """What it had reached after four iterations stood beside what the best had after a hundred."""
    run = new_run(tmp_path)
    study = create_study(run, HYBRID, "tune_loss")
    reference, other = (ask(study, HYBRID, 0, "random") for _ in range(2))
    report_value(reference, 4, 0.686)
    tell(study, reference, TrialState.PRUNED)
    tell(study, other, TrialState.COMPLETE, 0.66)
    best = overview(run, study, Known(), driven=True).best
    assert best is not None
    assert best.reference_in_words == "reference stopped at iteration 4: 0.6860"


def test_what_was_said_last_is_seen_in_a_terminal_that_is_too_low_for_all(tmp_path: Path) -> None:
    """A live view is cut off at its end."""
    run = new_run(tmp_path)
    study = create_study(run, HYBRID, "tune_loss")
    for objective in (0.7, 0.6):
        tell(study, ask(study, HYBRID, 0, "random"), TrialState.COMPLETE, objective)
    console = Console(width=80)
    with console.capture() as shown:
        console.print(render(overview(run, study, Known(), driven=True), ("before", "said last")))
    lines = [line.strip() for line in shown.get().splitlines()]
    assert lines.index("said last") < next(place for place, line in enumerate(lines) if line.startswith("best "))
