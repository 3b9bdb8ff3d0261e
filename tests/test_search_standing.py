"""What has come of a search, looked at again and again, is what a look at all its trials says."""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from hybridtune.search.study.rungs import WAITS_AT, waits_at
from hybridtune.search.study.standing import Standing, last_iteration
from hybridtune.search.study.study import WARM_START, ranked, started


def assert_equals_a_look_at_all(standing: Standing, study: optuna.Study) -> None:
    trials = started(study)
    best = list(ranked(trials, study.direction, over=False))
    assert standing.finished == sum(trial.state.is_finished() for trial in trials)
    assert standing.failed == sum(trial.state == TrialState.FAIL for trial in trials)
    assert (standing.best and standing.best.number) == (best[0].number if best else None)
    assert standing.begun == bool(trials)
    assert standing.waiting == sum(waits_at(trial) is not None for trial in trials)
    furthest = max((last_iteration(trial) for trial in trials if trial.state == TrialState.FAIL), default=0)
    better = any(
        last_iteration(trial) > furthest or waits_at(trial) is not None
        if trial.state == TrialState.RUNNING
        else trial.state != TrialState.FAIL
        for trial in trials
    )
    assert standing.hopeless() == (standing.failed > 0 and not better)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("seed", range(4))
def test_a_standing_that_catches_up_knows_what_a_new_one_does(direction: str, seed: int) -> None:
    study, chance = optuna.create_study(direction=direction), np.random.default_rng(seed)
    study.enqueue_trial({"x": 0.5})
    study.add_trial(create_trial(value=-9.0 if direction == "minimize" else 9.0, user_attrs={WARM_START: 3}))
    standing, running = Standing(study), []
    states = [TrialState.FAIL] * 3 if seed == 0 else [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    for _ in range(60):
        if len(running) < 3 and chance.random() < 0.6:
            running.append(study.ask())
            running[-1].suggest_float("x", 0, 1)
        elif running:
            trial = running[int(chance.integers(len(running)))]
            step = last_iteration(study.get_trials()[trial.number]) + 1
            trial.report(float(chance.normal()), step)
            trial.set_user_attr(WAITS_AT, step if step < 2 and chance.random() < 0.3 else None)
            if step >= 2:
                running.remove(trial)
                state = states[int(chance.integers(3))]
                # Few values, so that some are equal.
                study.tell(trial, int(chance.integers(3)) if state == TrialState.COMPLETE else None, state=state)
        if chance.random() < 0.7:
            standing.look()
            assert_equals_a_look_at_all(standing, study)
    standing.look()
    assert_equals_a_look_at_all(standing, study)
    assert standing.since_best == Standing(study).since_best


def test_trials_that_have_ended_are_not_looked_at_again() -> None:
    study = optuna.create_study()
    study.add_trials([create_trial(value=float(value)) for value in range(100)])
    standing = Standing(study)
    for trial in study.get_trials(deepcopy=False)[1:]:
        trial.values = None
    study.add_trial(create_trial(value=-1.0))
    standing.look()
    assert (standing.finished, standing.since_best) == (101, 0)
