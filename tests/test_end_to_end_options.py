"""The ways to run a search, each launched for real: schedulers, samplers, budgets, a warm start, a replay."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import SMALL_LAUNCH, SMALL_SPACE, Workplace

from hybridtune.search.run.run_dir import RunDir, trial_name
from hybridtune.search.study.study import WARM_START, open_study
from hybridtune.search.workers.checkpoint import checkpoints

pytestmark = pytest.mark.slow

OWN_SAMPLER = """
from optuna.samplers import RandomSampler

def mine(seed):
    return RandomSampler(seed=seed + 1)
"""


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    (tmp_path / "space.yaml").write_text(SMALL_SPACE)
    return Workplace(tmp_path)


def launch(place: Workplace, finished: Workplace, *options: str) -> tuple[str, pd.DataFrame]:
    output = place.succeed("launch", str(finished.path / "dataset"), "--run", "run", *SMALL_LAUNCH, *options)
    return output, pd.read_parquet(place.path / "run" / "trials.parquet")


def test_without_a_scheduler_every_trial_is_trained_to_its_end(place: Workplace, finished: Workplace) -> None:
    (place.path / "own.py").write_text(OWN_SAMPLER)
    output, trials = launch(place, finished, "--scheduler", "none", "--sampler", "own:mine")
    assert "rungs at none" in output
    assert trials["state"].tolist() == ["complete"] * 4
    assert trials["iterations"].tolist() == [3] * 4

    # Its code is run again only for who names it.
    refused = place.run("resume", "run", "--trials", "1")
    assert (refused.process.returncode, "--sampler own:mine" in refused.stderr) == (2, True)
    assert RunDir.open(place.path / "run").document().status == "done"
    place.succeed("resume", "run", "--trials", "1", "--sampler", "own:mine", "--concurrent", "2")
    assert len(pd.read_parquet(place.path / "run" / "trials.parquet")) == 5


def test_a_search_that_nothing_improves_ends_early_and_is_blended(place: Workplace, finished: Workplace) -> None:
    output, trials = launch(
        place, finished, "--scheduler", "hyperband", "--sampler", "random", "--trials", "40", "--stop-after", "2"
    )
    assert "the search ends early: 2 trials brought nothing better" in output
    assert 3 <= len(trials) < 40
    assert (place.path / "run" / "report" / "index.html").exists()


def test_a_search_whose_time_is_up_ends_and_may_be_given_more(place: Workplace, finished: Workplace) -> None:
    # Starting the workers may take half of the time; no trial stops early, and two seldom end at the same moment.
    options = ("--trials", "500", "--time-budget", "20s", "--samples-per-iteration", "1024", "--iterations", "20")
    output, trials = launch(place, finished, *options, "--scheduler", "none", "--concurrent", "2")
    assert "the search ends early: its time budget of 20 seconds is spent" in output
    run = RunDir.open(place.path / "run")
    assert 1 <= len(trials) < 500
    assert "complete" in set(trials["state"])
    assert run.document().status == "done"
    # What was under way is neither thrown away nor called stopped.
    under_way = trials[trials["state"] == "running"]
    assert len(under_way) == output.count("interrupted after iteration") >= 1
    for number in under_way["trial"]:
        assert checkpoints(run.place, trial_name(number))

    # Of 500 trials most are left, but no time.
    refused = place.run("resume", "run", "--trials", "1")
    assert refused.process.returncode == 2
    assert refused.stderr == (
        "hybridtune: the time budget of 20 seconds is spent: more trials want --time-budget too\n"
    )
    assert (run.document().status, run.document().settings.trials) == ("done", 500)
    again = place.succeed("resume", "run", "--time-budget", "40s")
    for number, iterations in zip(under_way["trial"], under_way["iterations"], strict=True):
        assert f"trial {number} starts again after iteration {iterations}" in again
    extended = pd.read_parquet(run.trials)
    assert len(trials) < len(extended) < 500
    kept = trials["state"] != "running"
    pd.testing.assert_frame_equal(extended.iloc[: len(trials)][kept], trials[kept], check_dtype=False)
    assert (extended["state"][: len(trials)] != "running").all()


def test_a_warm_start_tries_the_best_known_first_and_counts_its_own_trials_only(
    place: Workplace, finished: Workplace
) -> None:
    earlier = pd.read_parquet(finished.path / "run" / "trials.parquet")
    output, trials = launch(place, finished, "--warm-start", str(finished.path / "run"), "--seed", "3")
    assert len(trials) == 4
    known = earlier[earlier["state"] == "complete"]
    study = open_study(RunDir.open(place.path / "run"))
    assert sum(WARM_START in t.user_attrs for t in study.get_trials()) == len(known)
    best = known.loc[known["objective"].idxmin()].filter(like="config.")
    tried_first = trials.iloc[:2].filter(like="config.")
    assert (tried_first == best).all(axis=1).any()
    assert "4 of 4 done" in output
    refused = place.run(
        *("launch", str(finished.path / "dataset"), "--run", "other", "--warm-start", str(finished.path / "run")),
        *("--space", "basic"),
    )
    assert refused.process.returncode == 2
    assert "make them equal" in refused.stderr
    assert not (place.path / "other").exists()


def test_a_replayed_trial_leaves_the_same_curve(finished: Workplace, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (finished.path / "run").rglob("*") if path.is_file()}
    trials = pd.read_parquet(finished.path / "run" / "trials.parquet")
    for number in (0, 3):
        output = finished.succeed("replay", "run", str(number))
        assert f"{trials['iterations'][number]} iterations, largest difference 0" in output
    assert {path: path.read_bytes() for path in (finished.path / "run").rglob("*") if path.is_file()} == before

    absent = finished.run("replay", "run", "77")
    assert (absent.process.returncode, "has no trial 77" in absent.stderr) == (2, True)


def test_each_trial_of_a_search_with_two_workers_can_be_replayed(place: Workplace, finished: Workplace) -> None:
    """Which trials there are depends on timing then; what each of them did does not."""
    _, trials = launch(place, finished, "--concurrent", "2")
    for number, iterations in trials["iterations"].items():
        output = place.succeed("replay", "run", str(number))
        assert f"{iterations} iterations, largest difference 0" in output


def test_a_trial_that_differs_from_its_curve_is_an_error(finished: Workplace, tmp_path: Path) -> None:
    """A curve with one digit changed."""
    shutil.copytree(finished.path / "run", tmp_path / "run")
    log = tmp_path / "run" / "tune" / "curves.jsonl"
    log.write_text(
        re.sub(r'("tune_loss": 0\.6)(\d)', lambda m: m[1] + str((int(m[2]) + 1) % 10), log.read_text(), count=1)
    )
    failed = Workplace(tmp_path).run("replay", "run", "0")
    assert failed.process.returncode == 1
    assert "trial 0 differs from its curve by 0.01 on cpu" in failed.stderr
