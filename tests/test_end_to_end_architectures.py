"""A small search over all architectures at once, some of the horizons, with every knob of training turned."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Workplace
from safetensors.torch import load_file

from hybridtune.models.architectures.registry import ARCHITECTURES, build_model, model_config
from hybridtune.models.bundle.bundle import BundleDocument
from hybridtune.search.finalists.members import MemberDocument, members
from hybridtune.search.run.run_dir import RunDir

pytestmark = pytest.mark.slow

SPACE = """
base: all
dimensions:
  hidden_size: {choices: [16, 32]}
  layers: 1
  blocks: {low: 1, high: 2}
  levels: {choices: [4, 5], when: {architecture: tcn}}
  windows: {choices: [15/60, "15"]}
  batch_size: 64
  class_weights: {choices: [none, auto, "1.5"]}
  loss: {choices: [cross_entropy, focal]}
  schedule: {choices: [cosine, plateau]}
"""

LAUNCH = (
    *(
        "--space",
        "all.yaml",
        "--horizons",
        "60",
        "--trials",
        "6",
        "--iterations",
        "2",
        "--samples-per-iteration",
        "256",
    ),
    *("--grace-period", "2", "--top-k", "6", "--seeds", "1", "--concurrent", "1"),
    *("--precision", "fp32", "--device", "cpu", "--micro-batch", "24"),
)
"""Seed 0 draws every architecture among its first six trials, and no rung stops any."""


@pytest.fixture(scope="module")
def place(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("all"))
    (place.path / "all.yaml").write_text(SPACE)
    output = place.succeed("launch", str(finished.path / "dataset"), "--run", "run", *LAUNCH)
    assert "training on cpu in fp32" in output
    assert "ran out of memory" not in output
    return place


@pytest.fixture(scope="module")
def run(place: Workplace) -> RunDir:
    return RunDir.open(place.path / "run")


@pytest.fixture(scope="module")
def trained(run: RunDir) -> list[MemberDocument]:
    return members(run)


def test_every_architecture_is_tried_with_its_own_dimensions_only(run: RunDir) -> None:
    trials = pd.read_parquet(run.path / "trials.parquet")
    assert set(trials["config.architecture"]) == set(ARCHITECTURES)
    assert set(trials["state"]) == {"complete"}
    assert set(trials["micro_batch"]) == {24}
    assert set(trials["runs_on"]) == {"cpu in fp32"}
    for dimension, users in (
        ("windows", {"hybrid_lstm"}),
        ("layers", {"hybrid_lstm", "basic_lstm"}),
        ("positions", {"hybrid_lstm", "transformer"}),
        ("levels", {"tcn"}),
        ("hidden_size", set(ARCHITECTURES)),
    ):
        known = trials[f"config.{dimension}"].notna()
        assert set(trials.loc[known, "config.architecture"]) == users, dimension
        assert set(trials.loc[~known, "config.architecture"]) == set(ARCHITECTURES) - users, dimension


def test_every_architecture_becomes_a_member_of_the_one_horizon(trained: list[MemberDocument]) -> None:
    assert {member.architecture for member in trained} == set(ARCHITECTURES)
    assert all(len(member.tune) == 1 for member in trained)
    assert all(np.isfinite(member.tune[0].log_loss) for member in trained)


def test_the_checkpoint_loads_into_the_named_class(place: Workplace) -> None:
    place.succeed("export", "run", "bundle")
    checkpoint = torch.load(place.path / "bundle" / "checkpoint.pt", weights_only=True)
    config = dict(checkpoint["config"])
    architecture = config.pop("architecture")
    model = build_model(model_config(architecture, config), seed=0)
    model.load_state_dict(checkpoint["model_state_dict"], strict=True)
    assert isinstance(model, ARCHITECTURES[architecture])
    assert checkpoint["input_size"] == config["input_size"]


def test_the_bundle_of_all_architectures_predicts_what_the_run_stored(
    finished: Workplace, place: Workplace, run: RunDir, tmp_path: Path
) -> None:
    document = BundleDocument.read(place.path / "bundle" / "bundle.json")
    assert document.horizons == (60,)
    for entry in document.members:
        assert load_file(place.path / "bundle" / entry.file)
    raw = finished.path / "raw" / "launches"
    place.succeed("predict", "bundle", str(raw), "--out", str(tmp_path / "p.parquet"), "--stride", "15")
    fresh = pd.read_parquet(tmp_path / "p.parquet")
    stored = pd.read_parquet(run.predictions).merge(fresh, on=["series", "minute"], how="left", validate="one_to_one")
    np.testing.assert_allclose(stored["probability"], stored["ensemble/60"], atol=1e-6)


def test_a_horizon_that_the_dataset_lacks_is_refused_before_anything_is_made(
    finished: Workplace, place: Workplace
) -> None:
    refused = place.run("launch", str(finished.path / "dataset"), "--run", "other", "--horizons", "15,30")
    assert refused.process.returncode == 2
    assert "the dataset has no horizon 30: it has 15, 60; choose among them" in refused.stderr
    assert not (place.path / "other").exists()
