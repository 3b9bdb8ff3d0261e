"""A small search as a user runs it, from generated launches to predictions: what it leaves agrees with itself."""

import hashlib
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from conftest import SMALL_LAUNCH, SMALL_SPACE, Workplace, wait_until
from optuna.trial import TrialState

import hybridtune.search.cli.main
from hybridtune.data.store import Dataset
from hybridtune.models.bundle import Bundle
from hybridtune.search.finalists.ensemble import EnsembleDocument
from hybridtune.search.finalists.members import FAILED, MEMBER, FailedMember, members
from hybridtune.search.finalists.predictions import ENSEMBLE
from hybridtune.search.report.comparison import TITLES, compare
from hybridtune.search.run.run_dir import RunDir, trial_name
from hybridtune.search.study.study import ask, best_first, config_of, create_study, open_study, tell
from hybridtune.search.workers.checkpoint import checkpoints
from hybridtune.spaces.load import load_space
from hybridtune.spaces.parameters import Float

pytestmark = pytest.mark.slow

HORIZONS = (15, 60)
KEYS = ["series", "minute"]


@pytest.fixture(scope="module")
def run(finished: Workplace) -> RunDir:
    return RunDir.open(finished.path / "run")


@pytest.fixture(scope="module")
def trials(run: RunDir) -> pd.DataFrame:
    return pd.read_parquet(run.path / "trials.parquet")


@pytest.fixture(scope="module")
def curves(run: RunDir) -> pd.DataFrame:
    return pd.read_parquet(run.path / "curves.parquet")


@pytest.fixture(scope="module")
def ensemble(run: RunDir) -> EnsembleDocument:
    return EnsembleDocument.read(run.ensemble)


@pytest.fixture(scope="module")
def predictions(run: RunDir) -> pd.DataFrame:
    return pd.read_parquet(run.predictions)


@pytest.fixture(scope="module")
def bundle(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "bundle"
    finished.succeed("export", "run", str(out))
    return out


def test_trial_0_is_the_guides_default_within_the_space(finished: Workplace, run: RunDir, trials: pd.DataFrame) -> None:
    default = load_space(str(finished.path / "space.yaml")).default()
    assert config_of(open_study(run).trials[0]) == default
    assert {name: trials[f"config.{name}"][0] for name in default} == default


def test_study_tables_and_curves_agree(run: RunDir, trials: pd.DataFrame, curves: pd.DataFrame) -> None:
    study = open_study(run)
    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
    assert [names[t.state] for t in study.trials] == trials["state"].tolist()
    assert len(trials) == 4
    for trial in study.trials:
        curve = curves[curves["trial"] == trial.number]
        row = trials.iloc[trial.number]
        assert curve["iteration"].tolist() == list(range(1, row["iterations"] + 1))
        assert sorted(trial.intermediate_values) == curve["iteration"].tolist()
        # The objective is the best value so far.
        np.testing.assert_allclose(
            [trial.intermediate_values[i] for i in curve["iteration"]], curve["tune_loss"].cummin(), rtol=1e-12
        )
        assert row["objective"] == trial.value == trial.intermediate_values[row["iterations"]]
        assert row["samples"] == 512 * row["iterations"]
        assert row["iterations"] == (3 if row["state"] == "complete" else 1)
    assert (trials["retries"] == 0).all()


def test_the_best_trial_was_trained_to_its_end(
    run: RunDir, trials: pd.DataFrame, capfd: pytest.CaptureFixture[str]
) -> None:
    assert hybridtune.search.cli.main._run(["status", str(run.path), "--json"], debug=False) == 0
    status = json.loads(capfd.readouterr().out)
    complete = trials[trials["state"] == "complete"]
    best = complete.sort_values(["objective", "trial"]).iloc[0]
    assert (status["best_trial"], status["best_objective"]) == (best["trial"], best["objective"])
    assert status["best_trial"] == best_first(open_study(run))[0].number
    assert status["status"] == "done"
    assert status["error"] is None
    assert status["trials"] == {
        "complete": len(complete),
        "pruned": 4 - len(complete),
        "failed": 0,
        "running": 0,
    }
    assert status["best_config"] == config_of(open_study(run).trials[int(best["trial"])])
    assert status["members"] == len(members(run))


def test_the_finalists_are_retrained_with_every_seed_beside_the_baselines(
    run: RunDir, ensemble: EnsembleDocument
) -> None:
    finalists = [t.number for t in best_first(open_study(run))[:2]]
    expected = {f"trial-{number}-seed-{seed}" for number in finalists for seed in (0, 1)} | {"basic-lstm-seed-0"}
    expected |= set() if 0 in finalists else {"reference-seed-0"}
    trained = {member.id: member for member in members(run)}
    assert set(trained) == set(ensemble.members) == expected
    assert {path.name for path in (run.path / "members").iterdir()} == expected
    for member in trained.values():
        assert [point.iteration for point in member.curve] == [1, 2, 3]
        assert {path.name for path in run.member(member.id).iterdir()} == {member.weights, "member.json"}
        assert member.seed > 0  # the search's own seed chose the configuration
    basic = trained["basic-lstm-seed-0"]
    assert (basic.architecture, basic.model["window"], basic.model["hidden_size"]) == ("basic_lstm", 60, 128)


def test_the_chosen_blend_is_the_one_that_cross_validated_best(ensemble: EnsembleDocument) -> None:
    assert set(ensemble.methods) == {"uniform", "convex", "greedy", "fixed", "best_single"}
    losses = {name: method.cross_validated_log_loss for name, method in ensemble.methods.items()}
    assert ensemble.method == min(losses, key=lambda name: losses[name])
    for method in ensemble.methods.values():
        weights_NH = np.array([method.weights[member] for member in ensemble.members])
        assert (weights_NH >= 0).all()
        np.testing.assert_allclose(weights_NH.sum(axis=0), 1, atol=1e-9)
    assert ensemble.horizons == HORIZONS
    assert ensemble.configurations_tried == 4


def test_predictions_hold_every_frozen_anchor_of_blend_and_test_once(
    finished: Workplace, predictions: pd.DataFrame, ensemble: EnsembleDocument
) -> None:
    dataset = Dataset(finished.path / "dataset")
    names = np.array(dataset.series.name_M)
    assert not predictions.duplicated(KEYS).any()
    assert set(predictions["slice"]) == {"blend", "test"}
    for slice_name in ("blend", "test"):
        anchors = dataset.frozen_anchors(slice_name)
        part = predictions[predictions["slice"] == slice_name]
        expected = set(zip(names[anchors.series_A], anchors.minute_A, strict=True))
        assert set(zip(part["series"], part["minute"], strict=True)) == expected
    weights = ensemble.methods[ensemble.method].weights
    for h, horizon in enumerate(HORIZONS):
        mixed = sum(weight[h] * predictions[f"{member}/{horizon}"] for member, weight in weights.items())
        meant = ensemble.calibration[h].apply(np.asarray(mixed))
        np.testing.assert_allclose(predictions[f"{ENSEMBLE}/{horizon}"], meant, atol=1e-12)


def test_the_calibration_at_each_horizon_is_the_one_that_cross_validated_best(ensemble: EnsembleDocument) -> None:
    assert set(ensemble.calibration_losses) == {"none", "temperature", "isotonic"}
    for h, calibration in enumerate(ensemble.calibration):
        losses = {kind: losses_H[h] for kind, losses_H in ensemble.calibration_losses.items()}
        assert losses[calibration.kind] == min(losses.values())


def test_stored_labels_are_what_the_raw_prices_did(finished: Workplace, predictions: pd.DataFrame) -> None:
    for name, part in predictions.groupby("series"):
        (path,) = (finished.path / "raw").rglob(f"{name}.parquet")
        price = pd.read_parquet(path)["price"].to_numpy()
        for horizon in HORIZONS:
            rose = price[part["minute"] + horizon] > price[part["minute"]]
            assert (part[f"label/{horizon}"] == rose).all()


def test_the_bundle_predicts_at_these_anchors_what_the_run_stored(
    finished: Workplace, bundle: Path, predictions: pd.DataFrame, tmp_path: Path
) -> None:
    out = tmp_path / "predictions.parquet"
    finished.succeed("predict", str(bundle), "raw/launches", "--out", str(out), "--stride", "15")
    fresh = pd.read_parquet(out).pivot(index=KEYS, columns="horizon", values="probability").reset_index()
    joined = predictions.merge(fresh, on=KEYS, how="left", validate="one_to_one")
    for horizon in HORIZONS:
        np.testing.assert_allclose(joined[horizon], joined[f"{ENSEMBLE}/{horizon}"], atol=1e-6)


def test_export_refuses_a_place_that_is_taken(run: RunDir, bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in bundle.iterdir()}
    assert hybridtune.search.cli.main._run(["export", str(run.path), str(bundle)], debug=False) == 2
    assert "exists already" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in bundle.iterdir()} == before


def test_the_report_is_one_page_that_needs_no_network(finished: Workplace, run: RunDir) -> None:
    output = finished.succeed("report", "run", "--oracle", "raw/oracle.parquet")
    assert {path.name for path in run.report.parent.iterdir()} == {
        *("index.html", "plotly.min.js", "test_scores.csv", "finalists.csv", "weights.csv", "gains.csv")
    }
    page = run.report.read_text()
    assert len(re.findall(r"<html\b", page)) == 1
    # What stands in a script is text to the browser, not a reference that it fetches.
    markup = re.sub(r"(<script\b[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    referred = set(re.findall(r"""\b(?:src|href|srcset|action|data)\s*=\s*["']?([^"'\s>]+)""", markup))
    within = {name for name in referred if name.startswith("#")}
    assert referred - within == {"plotly.min.js"}
    assert len(within) > 5
    assert all(f'id="{name[1:]}"' in markup for name in within)
    assert len(page) < 1_000_000
    assert not re.findall(r"url\(|@import|https?://", markup)
    for horizon in HORIZONS:
        assert f"<th>{horizon} min</th>" in markup
    for title in TITLES.values():
        assert f"<td>{title}</td>" in markup
        assert title.split()[0] in output
    assert "4 configurations were tried" in markup
    assert run.document().test_readings == 1
    assert "was read" not in markup


def test_an_oracle_of_other_launches_is_refused(
    finished: Workplace, run: RunDir, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = run.report.read_bytes()
    oracle = pd.read_parquet(finished.path / "raw" / "oracle.parquet")
    oracle.iloc[:100].to_parquet(tmp_path / "other.parquet")
    (tmp_path / "none.parquet").write_text("mine")
    for name, message in (("other", "belongs to other launches"), ("none", "is not the oracle"), ("gone", "oracle")):
        arguments = ["report", str(run.path), "--oracle", str(tmp_path / f"{name}.parquet")]
        assert hybridtune.search.cli.main._run(arguments, debug=False) == 2
        stderr = capfd.readouterr().err
        assert message in stderr
        assert stderr.count("\n") == 1
    assert run.report.read_bytes() == before


def test_runs_and_bundles_of_one_dataset_are_compared_side_by_side(
    finished: Workplace, run: RunDir, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.path, tmp_path / "other")
    said = finished.succeed("compare", "run", str(tmp_path / "other"), str(bundle))
    for score in compare(run).ensemble.scores.values():
        # Of the run, of its copy, and as the bundle carries it.
        assert said.count(f"{score.metrics.auc:.3f}") >= 3
    assert all(words in said for words in ("logistic", "boosted", "base rate"))
    compared = said.replace("\n", " ")
    assert re.search(r"mean AUC of run over .*: \+0\.0000 \[\+0\.0000, \+0\.0000\], no gain shown", compared)

    shutil.copytree(bundle, tmp_path / "elsewhere")
    document = tmp_path / "elsewhere" / "bundle.json"
    document.write_text(document.read_text().replace(run.document().dataset_fingerprint, "0" * 16))
    altered = [str(run.path), str(tmp_path / "elsewhere")]
    assert hybridtune.search.cli.main._run(["compare", *altered], debug=False) == 2
    assert "its checksum differs" in capfd.readouterr().err
    sums = tmp_path / "elsewhere" / "SHA256SUMS"
    before, after = (hashlib.sha256(folder.read_bytes()).hexdigest() for folder in (bundle / "bundle.json", document))
    sums.write_text(sums.read_text().replace(before, after))
    for arguments, message in (
        ([run.path], "compare needs two or more runs or bundles, got 1"),
        ([run.path, run.path], "got 1"),
        ([run.path, tmp_path / "elsewhere"], "cannot be compared: one is of dataset"),
        ([run.path, tmp_path / "none"], "none"),
    ):
        assert hybridtune.search.cli.main._run(["compare", *map(str, arguments)], debug=False) == 2
        stderr = capfd.readouterr().err
        assert message in stderr
        assert stderr.count("\n") == 1


def test_tensorboard_finds_the_events_of_every_trial(run: RunDir) -> None:
    for number in range(4):
        assert list(run.trial(number).glob("events.out.tfevents.*"))
        assert not checkpoints(run.place, trial_name(number))


def test_nothing_is_left_beside_what_the_layout_names(run: RunDir) -> None:
    assert {path.name for path in run.path.iterdir()} == {
        *("run.json", "study.db", "study.backup.db", "trials.parquet", "curves.parquet"),
        *("predictions.parquet", "ensemble.json", "tune", "members.json", "members", "report", ".lock", "log.txt"),
    }


def test_a_finished_search_is_extended_by_more_trials(
    finished: Workplace, trials: pd.DataFrame, tmp_path: Path
) -> None:
    shutil.copytree(finished.path / "run", tmp_path / "run")
    place = Workplace(tmp_path)
    before = EnsembleDocument.read(RunDir.open(tmp_path / "run").ensemble)
    command = place.start("resume", "run", "--trials", "2")
    try:
        wait_until(lambda: "retraining:" in command.stdout, command)
    finally:
        command.kill()
    assert "the search goes on; its result so far stays until there is a new one" in command.stdout
    # Members of the larger search are chosen by now; the result is still the smaller one's.
    place.succeed("export", "run", "bundle")
    exported = Bundle.load(tmp_path / "bundle").document
    assert {member.id for member in exported.members} <= set(before.members)
    assert EnsembleDocument.read(RunDir.open(tmp_path / "run").ensemble) == before

    place.succeed("resume", "run")
    extended = pd.read_parquet(tmp_path / "run" / "trials.parquet")
    assert len(extended) == 6
    assert set(extended["state"]) <= {"complete", "pruned"}
    pd.testing.assert_frame_equal(extended.iloc[:4], trials, check_dtype=False)
    run = RunDir.open(tmp_path / "run")
    assert (run.document().status, run.document().settings.trials) == ("done", 6)
    assert EnsembleDocument.read(run.ensemble).configurations_tried == 6
    page = run.report.read_text()
    assert "6 configurations were tried" in page
    assert "The test slice was read 2 times: what was changed in between may have fitted it." in page


def test_the_report_of_a_run_that_is_searched_further_is_of_its_result_so_far(
    finished: Workplace, tmp_path: Path
) -> None:
    run = RunDir.open(Path(shutil.copytree(finished.path / "run", tmp_path / "run")))
    run.update(status="searching")
    settings = run.document().settings
    study = create_study(run, settings.space, settings.metric)
    tell(study, ask(study, settings.space, seed=5, sampler="random"), TrialState.COMPLETE, 0.01)
    report = Workplace(tmp_path).succeed("report", "run")
    assert "ensemble" in report
    assert "5 configurations" not in run.report.read_text()


def test_a_finished_run_without_its_result_makes_it_again(
    finished: Workplace, predictions: pd.DataFrame, tmp_path: Path
) -> None:
    shutil.copytree(finished.path / "run", tmp_path / "run")
    run = RunDir.open(tmp_path / "run")
    before = EnsembleDocument.read(run.ensemble)
    run.ensemble.unlink()
    Workplace(tmp_path).succeed("resume", "run")
    assert EnsembleDocument.read(run.ensemble) == before
    assert (run.document().status, run.document().test_readings) == ("done", 2)
    pd.testing.assert_frame_equal(pd.read_parquet(run.predictions), predictions)


def test_the_same_seed_searches_the_same_and_an_interrupted_retraining_is_resumed(
    finished: Workplace, trials: pd.DataFrame, predictions: pd.DataFrame, tmp_path: Path
) -> None:
    """A second launch, interrupted when its search is done: both searches are the same, and after the resume so
    are the members.
    """
    place = Workplace(tmp_path)
    (tmp_path / "space.yaml").write_text(SMALL_SPACE)
    command = place.start("launch", str(finished.path / "dataset"), "--run", "run", *SMALL_LAUNCH)
    try:
        deadline = time.monotonic() + 240
        while "members" not in command.stdout:
            assert command.process.poll() is None, command.stderr
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)
        os.killpg(command.process.pid, signal.SIGINT)
        assert command.wait() == 130
    finally:
        command.kill()
    assert command.stderr == "hybridtune: interrupted: `hybridtune resume RUN` goes on with a run\n"

    run = RunDir.open(tmp_path / "run")
    again = pd.read_parquet(run.path / "trials.parquet")
    assert run.document().status == "retraining"
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), trials.drop(columns="seconds"))
    refused = place.run("export", "run", "bundle")
    assert refused.process.returncode == 2
    assert "is not finished, its status is retraining" in refused.stderr

    place.succeed("resume", "run")
    assert run.document().status == "done"
    pd.testing.assert_frame_equal(pd.read_parquet(run.predictions), predictions)


def test_losses_that_are_not_finite_fail_their_trials_and_are_never_reported(
    finished: Workplace, tmp_path: Path
) -> None:
    """At a learning rate at which the first step already throws the weights to infinity."""
    place = Workplace(tmp_path)
    (tmp_path / "space.yaml").write_text(SMALL_SPACE + "  learning_rate: {low: 1.0e+30, high: 1.0e+31}\n")
    arguments = [*SMALL_LAUNCH, "--trials", "2"]
    failed = place.run("launch", str(finished.path / "dataset"), "--run", "run", *arguments)
    assert failed.process.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert re.search(
        r"none of 2 trials was trained to its end: loss .* in iteration 1: try a lower learning_rate", line
    )
    run = RunDir.open(tmp_path / "run")
    assert run.document().status == "failed"
    for trial in open_study(run).get_trials():
        assert trial.state == TrialState.FAIL
        assert trial.value is None
        assert not trial.intermediate_values
    trials = pd.read_parquet(run.path / "trials.parquet")
    assert (trials["state"] == "failed").all()
    assert trials["failure"].str.contains("in iteration 1").all()


def diverging_default(run: RunDir) -> None:
    """Sends a finished run back to its retraining with a reference configuration that diverges at its first step."""
    settings = run.document().settings
    dimensions = settings.dimensions | {"learning_rate": Float(low=1e-4, high=1e31, log=True)}
    changed = settings.model_copy(
        update={"dimensions": dimensions, "reference": settings.reference | {"learning_rate": 1e31}}
    )
    run.update(settings=changed.model_dump(), status="retraining")
    run.ensemble.unlink()


def test_a_member_whose_loss_is_not_finite_is_left_out_and_said(finished: Workplace, tmp_path: Path) -> None:
    shutil.copytree(finished.path / "run", tmp_path / "run")
    run = RunDir.open(tmp_path / "run")
    diverging_default(run)
    place = Workplace(tmp_path)
    output = place.succeed("resume", "run")
    assert re.search(r"member reference-seed-0 is left out: loss .* in iteration 1.*; 1 of 1 members", output)
    ensemble = EnsembleDocument.read(run.ensemble)
    assert list(ensemble.left_out) == ["reference-seed-0"]
    assert "reference-seed-0" not in ensemble.members
    assert ensemble.members
    assert "Left out: reference-seed-0: loss" in run.report.read_text()
    place.succeed("export", "run", "bundle")

    # Trained anew it would only fail again.
    diverging_default(run)
    assert "retraining: 0 of" in place.succeed("resume", "run")


def test_a_run_without_any_member_left_ends_with_the_reason(finished: Workplace, tmp_path: Path) -> None:
    shutil.copytree(finished.path / "run", tmp_path / "run")
    run = RunDir.open(tmp_path / "run")
    for member in members(run):
        FailedMember(id=member.id, origin=member.origin, failure="loss nan").write(run.member(member.id) / FAILED)
        (run.member(member.id) / MEMBER).unlink()
    run.update(status="retraining")
    failed = Workplace(tmp_path).run("resume", "run")
    assert failed.process.returncode == 1
    assert failed.stderr.startswith("hybridtune: RetrainingFailedError: no member could be trained: loss nan (")


def test_optuna_reads_the_study_without_us(run: RunDir) -> None:
    study = optuna.load_study(study_name="hybridtune", storage=f"sqlite:///{run.path / 'study.db'}")
    assert len(study.trials) == 4
