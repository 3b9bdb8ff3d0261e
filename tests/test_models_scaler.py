"""Scaling is fitted on train only, survives any column, and cuts what is far out."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import violent_bars, with_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import QuantileTransformer

from hybridtune.data.bars import Bars
from hybridtune.data.features import features
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.models.architectures.scaler import (
    CLIP,
    SAMPLE_BARS,
    SCALINGS,
    Scaling,
    StandardScaling,
    make_scaling,
    train_bars,
)


def fitted(x_NF: np.ndarray, name: str = "standard") -> Scaling:
    scaling = make_scaling(name, x_NF.shape[1])
    scaling.fit(x_NF.astype(np.float32))
    return scaling


def scaled(scaling: Scaling, x_NF: np.ndarray) -> np.ndarray:
    return np.asarray(scaling(torch.from_numpy(x_NF.astype(np.float32))))


def test_scaled_train_bars_have_mean_zero_and_deviation_one(dataset: Dataset) -> None:
    x_NF = train_bars(dataset)
    scaling = fitted(x_NF)
    assert isinstance(scaling, StandardScaling)
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


class ManySeries:
    """In place of a dataset of so many train series: the minute, and a drift and its spread that grow with it."""

    def __init__(self, lengths: list[int]) -> None:
        self.series = SimpleNamespace(bars_M=np.array(lengths))
        self.read = 0

    def members(self, name: str) -> np.ndarray:
        assert name == "train"
        return np.arange(len(self.series.bars_M))

    def x_TF(self, index: int) -> np.ndarray:
        self.read += 1
        minute_T = np.arange(self.series.bars_M[index])
        wave_T = np.random.default_rng(index % 100).normal(0.1 * minute_T, 1 + minute_T)
        return np.column_stack([minute_T, wave_T]).astype(np.float32)


@pytest.mark.parametrize("lengths", [[24] * 12_500, [24] * 50_001, [24] * 120_000, [20, 28] * 50_000, [7] * 7143])
def test_the_bars_that_are_looked_at_stand_for_all_minutes_of_all_series(lengths: list[int]) -> None:
    """Each as many bars as two samples and more, at lengths that a stride might go with."""
    many = ManySeries(lengths)
    x_NF = train_bars(many)  # type: ignore[arg-type]
    assert len(x_NF) == min(sum(lengths), SAMPLE_BARS)
    assert many.read <= SAMPLE_BARS
    np.testing.assert_array_equal(train_bars(many), x_NF)  # type: ignore[arg-type]
    expected = sum(np.bincount(np.arange(length), minlength=28) for length in lengths[:2]) / sum(lengths[:2])
    share = np.bincount(x_NF[:, 0].astype(int), minlength=28) / len(x_NF)
    np.testing.assert_allclose(share, expected, atol=0.004)
    every_NF = np.concatenate([many.x_TF(index) for index in range(200)])
    np.testing.assert_allclose(x_NF.mean(axis=0), every_NF.mean(axis=0), atol=0.3)
    np.testing.assert_allclose(x_NF.std(axis=0), every_NF.std(axis=0), rtol=0.03)


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("constant", [0.0, 0.1, -7.0, 1e-30, 1e20, 3e38])
def test_a_constant_feature_becomes_zero_and_never_nan(constant: float, name: str) -> None:
    x_NF = np.column_stack([np.full(999, constant), np.arange(999)])
    z_NF = scaled(fitted(x_NF, name), x_NF)
    np.testing.assert_allclose(z_NF[:, 0], 0, atol=1e-6)
    assert np.isfinite(z_NF).all()
    unseen = scaled(fitted(x_NF, name), np.array([[constant + 1, -1e9], [-3e38, 3e38]]))
    assert np.isfinite(unseen).all()


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("unit", [1e-30, 1e-14, 1.0, 1e30])
def test_the_unit_of_a_feature_does_not_matter(unit: float, name: str) -> None:
    x_NF = np.random.default_rng(0).normal(3, 2, (500, 1))
    expected = scaled(fitted(x_NF, name), x_NF)
    np.testing.assert_allclose(scaled(fitted(x_NF * unit, name), x_NF * unit), expected, atol=1e-3)


def test_robust_scaling_is_winsorised_median_and_quartiles() -> None:
    x_NF = np.random.default_rng(0).standard_t(2, (4001, 2)) * [1, 50] + [0, 9]
    low, first, median, third, high = np.percentile(x_NF, [0.5, 25, 50, 75, 99.5], axis=0)
    expected = ((x_NF.clip(low, high) - median) / (third - first)).clip(-CLIP, CLIP)
    np.testing.assert_allclose(scaled(fitted(x_NF, "robust"), x_NF), expected, atol=1e-4)


@pytest.mark.parametrize("name", SCALINGS)
def test_a_feature_that_spans_all_that_a_float_holds_is_scaled_to_numbers(name: str) -> None:
    """The range of an extra column between the smallest and the largest float is none: it was not a number."""
    largest = np.finfo(np.float32).max
    x_N1 = np.concatenate([np.full(50, -largest), np.full(50, largest), np.zeros(10)]).astype(np.float32)[:, None]
    x = scaled(fitted(x_N1, name), x_N1)
    assert np.isfinite(x).all()
    assert x[0] < x[-1] < x[60]


def test_robust_scaling_of_a_mostly_constant_feature_keeps_the_rest_apart() -> None:
    x_NF = np.where(np.random.default_rng(0).random((2000, 1)) < 0.9, 0.0, 5.0)
    assert scaled(fitted(x_NF, "robust"), np.array([[0.0], [5.0]])).tolist() == [[0.0], [1.0]]


def test_quantile_scaling_is_scikit_learns_within_the_train_range() -> None:
    rng = np.random.default_rng(0)
    x_NF = np.column_stack([rng.lognormal(0, 2, 4001), rng.integers(0, 4, 4001)]).astype(np.float32)
    reference = QuantileTransformer(n_quantiles=201, output_distribution="normal", subsample=None).fit(x_NF)
    # Between two knots ours is linear in the normal quantile, theirs in the rank; it shows in the outermost step only.
    low, high = np.percentile(x_NF[:, 0], [1, 99])
    inside = (x_NF[:, 0] > low) & (x_NF[:, 0] < high) & (x_NF[:, 1] > 0) & (x_NF[:, 1] < 3)
    np.testing.assert_allclose(
        scaled(fitted(x_NF, "quantile"), x_NF)[inside], reference.transform(x_NF)[inside], atol=0.02
    )


@pytest.mark.parametrize("name", SCALINGS)
def test_a_scaled_value_does_not_depend_on_its_neighbours(name: str) -> None:
    x_NF = np.random.default_rng(1).normal(size=(300, 3)) ** 3
    scaling = fitted(x_NF[:200], name)
    np.testing.assert_array_equal(scaled(scaling, x_NF)[250], scaled(scaling, x_NF[250:251])[0])
    shaped = scaling(torch.from_numpy(x_NF.reshape(5, 60, 3).astype(np.float32)))
    np.testing.assert_array_equal(np.asarray(shaped).reshape(300, 3), scaled(scaling, x_NF))


@pytest.mark.parametrize("name", SCALINGS)
def test_every_scaling_rises_with_its_feature(name: str) -> None:
    x_NF = np.random.default_rng(2).standard_t(1, (1000, 1))
    z = scaled(fitted(x_NF, name), np.sort(x_NF, axis=0))[:, 0]
    assert (np.diff(z) >= -1e-6).all()
    assert z[-1] > z[0]


def test_what_lies_far_out_is_cut() -> None:
    scaling = fitted(np.array([[0.0], [2.0]]))
    assert scaled(scaling, np.array([[1.0], [2.0], [1e6], [-3e38]])).tolist() == [[0], [1], [CLIP], [-CLIP]]


@pytest.mark.parametrize("name", SCALINGS)
def test_the_scaling_travels_with_the_weights(name: str) -> None:
    x_NF = np.random.default_rng(0).normal(3, 2, (50, 4))
    scaling, copy = fitted(x_NF, name), make_scaling(name, 4)
    assert not np.array_equal(scaled(copy, x_NF), scaled(scaling, x_NF))
    copy.load_state_dict(scaling.state_dict())
    np.testing.assert_array_equal(scaled(copy, x_NF), scaled(scaling, x_NF))
    assert list(scaling.parameters()) == []


@pytest.mark.parametrize("name", SCALINGS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), minutes=st.integers(31, 300), data=st.data())
def test_a_scaled_feature_does_not_depend_on_later_bars(
    dataset: Dataset, name: str, seed: int, minutes: int, data: st.DataObject
) -> None:
    t = data.draw(st.integers(0, minutes - 31))
    scaling = fitted(train_bars(dataset), name)
    bars, other = violent_bars(seed, minutes), violent_bars(seed + 1, minutes)
    before = scaled(scaling, features(without_extras(bars)))
    changed = with_rows(bars, lambda rows, column: np.concatenate([rows[: t + 1], getattr(other, column)[t + 1 :]]))
    after = scaled(scaling, features(without_extras(changed)))
    np.testing.assert_array_equal(after[: t + 1], before[: t + 1])
    assert (after[t + 1 :] != before[t + 1 :]).any()
    cut = scaled(scaling, features(without_extras(with_rows(bars, lambda rows, _: rows[: t + 1]))))
    np.testing.assert_array_equal(cut, before[: t + 1])


def without_extras(bars: Bars) -> Bars:
    return dataclasses.replace(bars, extras_TE=np.empty((len(bars), 0)))
