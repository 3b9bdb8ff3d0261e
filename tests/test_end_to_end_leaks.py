"""One test for each way in which a result could know what it must not. From raw files on, with nothing in between.

Shapes: A anchors in a row, H horizons.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import EXPANDING_MAX, HORIZONS, SCORE

from hybridtune.data.batches import frozen_labels
from hybridtune.data.columns import Columns
from hybridtune.data.features import FEATURE_NAMES, formulas_digest
from hybridtune.data.find import find_series
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.schema import SLICES
from hybridtune.data.store import Dataset
from hybridtune.models.architectures.registry import build_model
from hybridtune.models.architectures.scaler import SCALINGS, train_bars
from hybridtune.models.bundle.bundle import Bundle, BundleDocument, MemberEntry
from hybridtune.models.bundle.calibration import Calibration
from hybridtune.models.bundle.minutes import Last
from hybridtune.models.training.config import Budget
from hybridtune.models.training.fit import predict_slice
from hybridtune.spaces.load import SHIPPED
from hybridtune.spaces.trial_config import Shape, trial_config

CPU = torch.device("cpu")


def raw_minutes(raw: Path, name: str) -> tuple[np.datetime64, np.datetime64]:
    """First and last time in a file, read without the product."""
    (path,) = raw.rglob(f"{name}.parquet")
    times = pd.read_parquet(path)["datetime"].to_numpy().astype("datetime64[m]")
    return times.min(), times.max()


def test_leak_of_a_label_that_overlaps_the_next_slice(raw: Path, dataset: Dataset) -> None:
    """No bar and no label of a slice lies at or after the first launch of a later one."""
    table = dataset.series
    for index, name in enumerate(SLICES[:-1]):
        later = [raw_minutes(raw, table.name_M[i])[0] for i in np.flatnonzero(table.slice_M > index)]
        for series in dataset.members(name):
            start, end = raw_minutes(raw, table.name_M[series])
            furthest_label = start + EXPANDING_MAX - 1 + max(HORIZONS)
            assert min(furthest_label, end) < min(later), table.name_M[series]
    assert (table.slice_M < 0).any(), "nothing was purged: the launches lie too far apart to test anything"


@pytest.mark.parametrize("scaling", SCALINGS)
def test_leak_of_a_scaling_fitted_beyond_train(
    raw: Path, dataset: Dataset, prepare_config: PrepareConfig, tmp_path: Path, scaling: str
) -> None:
    """Files outside train may hold anything: what the scaling learned stays the same to the bit."""
    shutil.copytree(raw, tmp_path / "raw")
    train = {dataset.series.name_M[series] for series in dataset.members("train")}
    for path in (tmp_path / "raw").rglob("*.parquet"):
        if path.stem not in train:
            table = pd.read_parquet(path)
            table.assign(price=table["price"] ** 3, volume=1e9).to_parquet(path)
    prepare(tmp_path / "raw", tmp_path / "changed", prepare_config)
    learned = []
    for prepared in (dataset, Dataset(tmp_path / "changed")):
        model = build_model(config_of("basic", dataset, scaling=scaling), seed=0)
        model.scaling.fit(train_bars(prepared))
        learned.append(model.scaling.state_dict())
    assert learned[0].keys() == learned[1].keys()
    for name, values in learned[0].items():
        assert torch.equal(values, learned[1][name]), name


def test_leak_of_other_anchors_for_other_configurations(dataset: Dataset) -> None:
    """Every configuration answers for the same anchors, those with a window beyond a short history too."""
    expected = {name: dataset.frozen_anchors(name) for name in SLICES[1:]}
    for space, changes in (
        ("basic", {"window": 15}),
        ("basic", {"window": EXPANDING_MAX}),
        ("hybrid", {"windows": f"5/{EXPANDING_MAX}", "hidden_size": 32}),
        ("hybrid", {"attention_span": 60, "batch_size": 256}),
    ):
        model = build_model(config_of(space, dataset, **changes), seed=0)
        for name, anchors in expected.items():
            p_AH = predict_slice(model, dataset, name, CPU, "fp32")
            assert p_AH.shape == (len(anchors), len(HORIZONS))
            assert len(frozen_labels(dataset, name)) == len(anchors)
        assert dataset.info.anchors_hash == Dataset(dataset.source).info.anchors_hash


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("t", [70, 239])
def test_leak_of_a_bar_after_t(raw: Path, dataset: Dataset, tmp_path: Path, scaling: str, t: int) -> None:
    """A prediction for minute t is the same from a file that ends there and from one that goes on."""
    model = build_model(config_of("hybrid", dataset, scaling=scaling, windows="5/60/240"), seed=0)
    model.scaling.fit(train_bars(dataset))
    bundle = bundle_of(model, dataset)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    for path in sorted(raw.rglob("*.parquet"))[:6]:
        table = pd.read_parquet(path).sort_values("datetime")
        table.to_parquet(whole / path.name)
        minutes = (table["datetime"] - table["datetime"].iloc[0]).dt.total_seconds() / 60
        table[minutes <= t].to_parquet(cut / path.name)
    ends = {p.series.file.name: p for p in bundle.predict(find_series(cut).files, Last())}
    compared = 0
    for prediction in bundle.predict(find_series(whole).files):
        end = ends[prediction.series.file.name]
        if len(end.series.minute_K) and end.series.minute_K[0] == t:
            at_t = prediction.p_KH[prediction.series.minute_K == t]
            np.testing.assert_allclose(at_t, end.p_KH, rtol=0, atol=1e-6)
            compared += 1
    assert compared >= 3


def config_of(space: str, dataset: Dataset, **changes: object):  # type: ignore[no-untyped-def]
    params = SHIPPED[space].default() | {"hidden_size": 16} | changes
    return trial_config(params, Shape.of(dataset.info), Budget()).model


def bundle_of(model: torch.nn.Module, dataset: Dataset) -> Bundle:
    document = BundleDocument(
        horizons=HORIZONS,
        features=FEATURE_NAMES,
        extras=(),
        formulas=formulas_digest(),
        columns=Columns(),
        expanding_min=dataset.info.expanding_min,
        expanding_max=dataset.info.expanding_max,
        members=(
            MemberEntry(
                id="only",
                origin="test",
                file="member-0.safetensors",
                architecture="hybrid_lstm",
                config={},
                weights=(1.0,) * len(HORIZONS),
            ),
        ),
        best_single="only",
        blending="single",
        calibration=(Calibration(),) * len(HORIZONS),
        test=(SCORE,) * len(HORIZONS),
        provenance={},
    )
    return Bundle(document, [model.eval()])
