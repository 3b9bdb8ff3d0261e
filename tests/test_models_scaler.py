"""Scaling is fitted on train only, survives any column, and cuts what is far out."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data.prepare import PrepareConfig, prepare
from data.store import Dataset
from models.scaler import CLIP, StandardScaling, train_bars


def fitted(x_NF: np.ndarray) -> StandardScaling:
    scaling = StandardScaling(x_NF.shape[1])
    scaling.fit(x_NF.astype(np.float32))
    return scaling


def scaled(scaling: StandardScaling, x_NF: np.ndarray) -> np.ndarray:
    return np.asarray(scaling(torch.from_numpy(x_NF.astype(np.float32))))


def test_scaled_train_bars_have_mean_zero_and_deviation_one(dataset: Dataset) -> None:
    x_NF = train_bars(dataset)
    scaling = fitted(x_NF)
    z_NF = (x_NF - scaling.mean_F.numpy()) / scaling.deviation_F.numpy()
    changing = x_NF.std(axis=0) > 0
    assert changing.sum() > 20
    np.testing.assert_allclose(z_NF.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(z_NF[:, changing].std(axis=0), 1, atol=1e-4)


def test_it_is_fitted_on_the_bars_of_train_alone(
    raw: Path, dataset: Dataset, prepare_config: PrepareConfig, tmp_path: Path
) -> None:
    """Every other series, purged ones too, gets a tenfold volatility."""
    shutil.copytree(raw, tmp_path / "raw")
    train = {dataset.series.name_M[series] for series in dataset.members("train")}
    others = [path for path in (tmp_path / "raw").rglob("*.parquet") if path.stem not in train]
    assert len(others) == 24 - len(train)
    for path in others:
        table = pd.read_parquet(path)
        table.assign(price=table["price"] ** 10 * 1e30, volume=1.0).to_parquet(path)
    prepare(tmp_path / "raw", tmp_path / "out", prepare_config)
    changed = Dataset(tmp_path / "out")
    assert not np.array_equal(
        changed.x_TF(int(dataset.members("tune")[0])), dataset.x_TF(int(dataset.members("tune")[0]))
    )
    np.testing.assert_array_equal(train_bars(changed), train_bars(dataset))


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.0, 1e-30, 1e20, 3e38])
def test_a_constant_feature_becomes_zero_and_never_nan(constant: float) -> None:
    x_NF = np.column_stack([np.full(999, constant), np.arange(999)])
    z_NF = scaled(fitted(x_NF), x_NF)
    assert (z_NF[:, 0] == 0).all()
    assert np.isfinite(z_NF).all()
    unseen = scaled(fitted(x_NF), np.array([[constant + 1, -1e9], [-3e38, 3e38]]))
    assert np.isfinite(unseen).all()


@pytest.mark.parametrize("unit", [1e-30, 1e-14, 1.0, 1e30])
def test_the_unit_of_a_feature_does_not_matter(unit: float) -> None:
    x_NF = np.random.default_rng(0).normal(3, 2, (500, 1))
    np.testing.assert_allclose(scaled(fitted(x_NF * unit), x_NF * unit), scaled(fitted(x_NF), x_NF), atol=1e-4)


def test_what_lies_far_out_is_cut() -> None:
    scaling = fitted(np.array([[0.0], [2.0]]))
    assert scaled(scaling, np.array([[1.0], [2.0], [1e6], [-3e38]])).tolist() == [[0], [1], [CLIP], [-CLIP]]


def test_the_scaling_travels_with_the_weights() -> None:
    scaling = fitted(np.random.default_rng(0).normal(3, 2, (50, 4)))
    copy = StandardScaling(4)
    copy.load_state_dict(scaling.state_dict())
    assert torch.equal(copy.mean_F, scaling.mean_F)
    assert torch.equal(copy.deviation_F, scaling.deviation_F)
    assert list(scaling.parameters()) == []
