"""The search as tables: one row a trial, one a trial and iteration, whatever the log went through."""

from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from hybridtune.models.training.progress import Progress
from hybridtune.search.run.curves import CURVE_COLUMNS, append_curve_point, read_curves
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.study.study import ask, create_study, report_value, tell
from hybridtune.search.study.trials_table import trials_table, write_tables
from hybridtune.spaces.parameters import Choice, Float, Int, Space

SPACE = Space(
    "small", {"kind": Choice(choices=("a", "b")), "rate": Float(low=0.1, high=0.9)}, {"kind": "b", "rate": 0.5}
)


def point(iteration: int, tune_loss: float = 0.6, seconds: float = 1.5) -> Progress:
    return Progress(iteration, iteration * 512, 0.7, tune_loss, 0.55, tune_loss, seconds, micro_batch=64)


def test_curves_are_sorted_by_trial_and_iteration_however_they_came(tmp_path: Path) -> None:
    log = tmp_path / "curves.jsonl"
    for trial, iteration in ((1, 1), (0, 1), (1, 2), (0, 2)):
        append_curve_point(log, trial, point(iteration))
    curves = read_curves(log)
    assert tuple(curves.columns) == CURVE_COLUMNS
    assert list(zip(curves["trial"], curves["iteration"], strict=True)) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert list(curves["samples"]) == [512, 1024, 512, 1024]


def test_an_iteration_that_was_reported_again_stands_once_with_its_last_values(tmp_path: Path) -> None:
    log = tmp_path / "curves.jsonl"
    for iteration, loss in ((1, 0.9), (2, 0.8), (2, 0.7)):
        append_curve_point(log, 0, point(iteration, loss))
    assert list(read_curves(log)["tune_loss"]) == [0.9, 0.7]


@pytest.mark.parametrize("keep", [1, 10, -2, -1])
def test_a_torn_last_line_costs_that_line_only(tmp_path: Path, keep: int) -> None:
    log = tmp_path / "curves.jsonl"
    append_curve_point(log, 0, point(1))
    whole = log.read_bytes()
    append_curve_point(log, 0, point(2))
    torn = log.read_bytes()[len(whole) :][:keep]
    log.write_bytes(whole + torn)
    assert list(read_curves(log)["iteration"]) in ([1], [1, 2])
    # The process that goes on writes after the torn line.
    append_curve_point(log, 0, point(2, 0.5))
    append_curve_point(log, 0, point(3))
    curves = read_curves(log)
    assert list(curves["iteration"]) == [1, 2, 3]
    assert curves["tune_loss"][1] == 0.5


def test_there_are_no_curves_before_the_first_report(tmp_path: Path) -> None:
    curves = read_curves(tmp_path / "curves.jsonl")
    assert len(curves) == 0
    assert tuple(curves.columns) == CURVE_COLUMNS


def study_with_every_state(path: Path) -> optuna.Study:
    study = create_study(RunDir(path), SPACE, "tune_loss")
    for state, value in ((TrialState.COMPLETE, 0.5), (TrialState.PRUNED, 0.8), (TrialState.FAIL, None)):
        trial = ask(study, SPACE, seed=0)
        if value is not None:
            report_value(trial, 1, value)
        if state == TrialState.FAIL:
            trial.set_user_attr("failure", "loss nan in iteration 1")
        tell(study, trial, state, value)
    ask(study, SPACE, seed=0).set_user_attr("retries", 2)
    return study


def test_every_started_trial_has_a_row_with_its_end_and_what_it_spent(tmp_path: Path) -> None:
    study = study_with_every_state(tmp_path)
    log = tmp_path / "curves.jsonl"
    for trial, iteration in ((0, 1), (0, 2), (1, 1)):
        append_curve_point(log, trial, point(iteration, seconds=1.5))
    table = trials_table(study, read_curves(log))
    assert list(table.columns) == [
        *("trial", "state", "iterations", "samples", "objective", "seconds", "retries", "hosts_lost"),
        *("failure", "runs_on", "host", "micro_batch"),
        *("config.kind", "config.rate"),
    ]
    assert list(table["trial"]) == [0, 1, 2, 3]
    assert list(table["state"]) == ["complete", "pruned", "failed", "running"]
    assert list(table["iterations"]) == [2, 1, 0, 0]
    assert list(table["samples"]) == [1024, 512, 0, 0]
    assert list(table["seconds"]) == [3.0, 1.5, 0.0, 0.0]
    assert list(table["retries"]) == [0, 0, 0, 2]
    assert list(table["objective"][:2]) == [0.5, 0.8]
    assert table["objective"][2:].isna().all()
    assert list(table["failure"].dropna()) == ["loss nan in iteration 1"]
    assert (table["config.kind"][0], table["config.rate"][0]) == ("b", 0.5)


def test_the_tables_are_files_and_leave_nothing_else_behind(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    (tmp_path / "tune").mkdir()
    study = study_with_every_state(tmp_path)
    append_curve_point(run.curve_log, 0, point(1))
    before = {p.name for p in tmp_path.iterdir()}
    write_tables(run, study)
    assert {p.name for p in tmp_path.iterdir()} - before == {"trials.parquet", "curves.parquet"}
    assert len(pd.read_parquet(tmp_path / "trials.parquet")) == 4
    assert len(pd.read_parquet(tmp_path / "curves.parquet")) == 1
    # Before the first report too.
    run.curve_log.unlink()
    write_tables(run, study)
    assert list(pd.read_parquet(tmp_path / "trials.parquet")["iterations"]) == [0, 0, 0, 0]


def test_a_dimension_that_a_trial_does_not_have_is_a_gap_and_keeps_its_kind(tmp_path: Path) -> None:
    space = Space(
        "s",
        {"kind": Choice(choices=("a", "b")), "depth": Int(low=1, high=9, when={"kind": ("b",)})},
        {"kind": "a", "depth": 3},
    )
    study = create_study(RunDir(tmp_path), space, "tune_loss")
    tell(study, ask(study, space, 0), TrialState.COMPLETE, 0.5)
    study.enqueue_trial({"kind": "b", "depth": 4})
    tell(study, ask(study, space, 0), TrialState.COMPLETE, 0.4)
    table = trials_table(study, read_curves(tmp_path / "none"))
    table.to_parquet(tmp_path / "trials.parquet")
    stored = pd.read_parquet(tmp_path / "trials.parquet")
    assert stored["config.depth"].isna().tolist() == [True, False]
    assert stored["config.depth"].dropna().tolist() == [4]
    assert stored["config.depth"].dtype == "Int64"
