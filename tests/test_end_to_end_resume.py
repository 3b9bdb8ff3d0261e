"""Real processes are killed at bad moments: no trial is lost, none is counted twice, and the search is the same."""

import os
import re
import signal
from pathlib import Path

import pandas as pd
import pytest
from conftest import SMALL_LAUNCH, SMALL_SPACE, Workplace, wait_until
from optuna.trial import TrialState

from hybridtune.search.run.curves import read_curves
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.study.study import best_first, open_study

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    (tmp_path / "space.yaml").write_text(SMALL_SPACE)
    return Workplace(tmp_path)


def curve_points(place: Workplace) -> int:
    log = place.path / "run" / "tune" / "curves.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def states(place: Workplace) -> list[TrialState]:
    return [trial.state for trial in open_study(RunDir(place.path / "run")).trials]


def assert_same_search(place: Workplace, undisturbed: Workplace) -> None:
    """Every trial, every curve, every value and the winner; the time that it took may differ."""
    tables = {}
    for where in (place, undisturbed):
        folder = where.path / "run"
        trials = pd.read_parquet(folder / "trials.parquet").drop(columns=["seconds", "retries"])
        curves = pd.read_parquet(folder / "curves.parquet").drop(columns="seconds")
        told = [(t.state, t.value, t.intermediate_values) for t in open_study(RunDir(folder)).trials]
        tables[where.path] = trials, curves, told, best_first(open_study(RunDir(folder)))[0].number
    (trials, curves, told, winner), expected = tables[place.path], tables[undisturbed.path]
    assert not curves.duplicated(["trial", "iteration"]).any()
    pd.testing.assert_frame_equal(trials, expected[0])
    pd.testing.assert_frame_equal(curves, expected[1])
    assert (told, winner) == expected[2:]


def test_a_search_that_is_killed_and_then_interrupted_goes_on_as_if_it_never_was(
    place: Workplace, finished: Workplace
) -> None:
    """SIGKILL to the driver and all its processes as its first trial reports; Ctrl-C in the resume, as soon as
    another trial has.
    """
    run = RunDir(place.path / "run")
    killed = place.start("launch", str(finished.path / "dataset"), "--run", "run", *SMALL_LAUNCH)
    try:
        wait_until(lambda: curve_points(place) >= 1, killed)
    finally:
        killed.kill()
    assert killed.process.returncode == -signal.SIGKILL
    assert TrialState.RUNNING in states(place)

    # The trial that was killed may report up to three iterations, the first of them again.
    wanted = curve_points(place) + 4
    interrupted = place.start("resume", "run")
    try:
        wait_until(lambda: curve_points(place) >= wanted, interrupted)
        os.killpg(interrupted.process.pid, signal.SIGINT)
        assert interrupted.wait() == 130
        assert interrupted.stderr == "hybridtune: interrupted: `hybridtune resume RUN` goes on with a run\n"
        assert not [line for line in interrupted.descendants().values() if line]
    finally:
        interrupted.kill()
    assert run.document().status == "searching"
    assert not (run.path / "trials.parquet").exists()

    # What starts a search again and again gives the same command each time.
    again = ("launch", "nowhere", "--run", "run", "--or-resume")
    stopped = place.start(*again)
    try:
        wait_until(lambda: "search: " in stopped.stdout, stopped)
        assert f"stopped: process {stopped.process.pid} on host" in place.succeed("stop", "run")
        assert stopped.wait() == 130
    finally:
        stopped.kill()

    assert "going on with it as it was set" in place.succeed(*again)
    assert run.document().status == "done"
    idle = place.run("stop", "run")
    assert idle.process.returncode == 2
    assert "nobody works on" in idle.stderr
    assert set(states(place)) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert_same_search(place, finished)


def test_a_trial_whose_worker_is_killed_is_retried_by_the_running_search(place: Workplace, finished: Workplace) -> None:
    command = place.start("launch", str(finished.path / "dataset"), "--run", "run", *SMALL_LAUNCH, "--iterations", "30")
    try:
        wait_until(lambda: curve_points(place) >= 2, command)
        (worker,) = [pid for pid, line in command.descendants().items() if line.startswith("ray::ImplicitFunc")]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: "goes on from its last checkpoint" in command.stdout, command)
        wait_until((place.path / "run" / "trials.parquet").exists, command)
    finally:
        command.kill()
    assert "Traceback" not in command.stderr
    assert "(raylet)" not in command.stdout
    trials = pd.read_parquet(place.path / "run" / "trials.parquet")
    assert trials["retries"].tolist() == [1, 0, 0, 0]
    assert trials["failure"].isna().all()
    assert set(trials["state"]) <= {"complete", "pruned"}
    assert trials["state"][0] == "complete"
    curves = read_curves(RunDir(place.path / "run").curve_log)
    for number, curve in curves.groupby("trial"):
        assert curve["iteration"].tolist() == list(range(1, trials["iterations"][number] + 1))


def test_a_search_that_tune_is_told_to_end_does_not_go_on_to_the_test_slice(
    place: Workplace, finished: Workplace
) -> None:
    """SIGUSR1 ends Tune's loop as if all were done: of 20 trials 2 were complete, and the run went on to its end."""
    run = RunDir(place.path / "run")
    command = place.start("launch", str(finished.path / "dataset"), "--run", "run", *SMALL_LAUNCH)
    try:
        wait_until(lambda: curve_points(place) >= 1, command)
        command.process.send_signal(signal.SIGUSR1)
        assert command.wait() == 1
    finally:
        command.kill()
    assert re.search(
        r"the search was ended from outside with [34] of its 4 trials left: `hybridtune resume", command.stderr
    )
    assert not run.ensemble.exists()
    assert run.document().test_readings == 0
    place.succeed("resume", "run")
    assert_same_search(place, finished)
