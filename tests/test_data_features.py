"""Every feature: causal, scale-free, within the range it documents, and equal to its formula."""

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from conftest import BARS_EXTRAS as EXTRAS
from conftest import violent_bars, with_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridtune.data.bars import Bars
from hybridtune.data.features import FEATURE_NAMES, FEATURES, LOOKED_AT, ROUNDED_TO, Series, features, formulas_digest
from hybridtune.data.features import _fixed_bars as fixed_bars

seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("feature", FEATURES, ids=FEATURE_NAMES)
def test_a_feature_is_documented(feature: object) -> None:
    text = dataclasses.asdict(feature)  # type: ignore[call-overload]
    assert all(text[field] for field in ("name", "formula", "unit", "range"))
    assert len(set(FEATURE_NAMES)) == len(FEATURES)


def bounds(text: str) -> tuple[float, float]:
    if text == "any":
        return -math.inf, math.inf
    if ".." in text:
        low, high = text.split("..")
        return float(low), float(high)
    sign, bound = text.split()
    return (float(bound), math.inf) if sign == ">=" else (-math.inf, float(bound))


@settings(max_examples=200, deadline=None)
@given(seed=seeds, minutes=st.integers(1, 400))
def test_a_feature_stays_in_its_documented_range(seed: int, minutes: int) -> None:
    x_TF = features(violent_bars(seed, minutes), EXTRAS)
    assert x_TF.dtype == np.float32
    assert x_TF.shape == (minutes, len(FEATURES) + 1)
    for column, feature in enumerate(FEATURES):
        low, high = bounds(feature.range)
        assert x_TF[:, column].min() >= low, feature.name
        assert x_TF[:, column].max() <= high, feature.name
        assert np.abs(x_TF[:, column]).max() < 200, feature.name


@settings(max_examples=200, deadline=None)
@given(seed=seeds, minutes=st.integers(2, 400), data=st.data())
def test_a_feature_does_not_depend_on_later_bars(seed: int, minutes: int, data: st.DataObject) -> None:
    t = data.draw(st.integers(0, minutes - 2))
    bars, other = violent_bars(seed, minutes), violent_bars(seed + 1, minutes)
    x_TF = features(bars, EXTRAS)
    cut = features(with_rows(bars, lambda rows, _: rows[: t + 1]), EXTRAS)
    later_changed = with_rows(bars, lambda rows, name: np.concatenate([rows[: t + 1], getattr(other, name)[t + 1 :]]))
    changed = features(later_changed, EXTRAS)
    assert (changed[t + 1 :] != x_TF[t + 1 :]).any()
    for column, name in enumerate((*FEATURE_NAMES, *EXTRAS)):
        np.testing.assert_array_equal(cut[:, column], x_TF[: t + 1, column], err_msg=name)
        np.testing.assert_array_equal(changed[: t + 1, column], x_TF[: t + 1, column], err_msg=name)


@settings(max_examples=150, deadline=None)
@given(seed=seeds, factor=st.floats(1e-6, 1e6), column=st.sampled_from(["price_T", "volume_T"]))
def test_a_feature_does_not_depend_on_the_unit_of_price_or_volume(seed: int, factor: float, column: str) -> None:
    bars = violent_bars(seed, 300)
    scaled = dataclasses.replace(bars, **{column: getattr(bars, column) * factor})
    np.testing.assert_allclose(features(scaled, EXTRAS), features(bars, EXTRAS), rtol=0, atol=1e-4)


def plain_features(bars: Bars, t: int) -> dict[str, float]:
    """The documented formulas for one minute, straight from bars 0..t."""
    price, volume = bars.price_T[: t + 1].tolist(), bars.volume_T[: t + 1].tolist()
    log_price = [math.log(p) for p in price]
    returns = [0.0] + [b - a for a, b in pairwise(log_price)]
    low, high = min(log_price), max(log_price)

    def mean(values: Sequence[float]) -> float:
        return math.fsum(values) / len(values)

    def sign(value: float) -> int:
        return (value > 0) - (value < 0)

    first = next((s for s in range(t + 1) if volume[s] > 0), t + 1)
    log_volume = [math.log(volume[s] + 0.001 * mean(volume[: s + 1])) for s in range(first, t + 1)]
    relative = [0.0] * first + [v - mean(log_volume[: s + 1]) for s, v in enumerate(log_volume)]
    scale = [math.sqrt(mean([r * r for r in returns[: s + 1]])) for s in range(t + 1)]
    z = [max(-5.0, min(r / s, 5.0)) if s > 0 else 0.0 for r, s in zip(returns, scale, strict=True)]
    day = 2 * math.pi * ((bars.start.astype(int) + t) % 1440) / 1440
    return {
        **{f"return_{n}": log_price[t] - log_price[max(t - n, 0)] for n in (1, 3, 5, 15, 60, 240)},
        "since_launch": log_price[t] - log_price[0],
        "drawdown": log_price[t] - high,
        "run_up": log_price[t] - low,
        "position": (log_price[t] - low) / (high - low) if high > low else 0.5,
        **{f"volatility_{n}": math.sqrt(mean([r * r for r in returns[-n:]])) for n in (15, 60, 240)},
        **{f"volume_{n}": mean(relative[-n:]) for n in (1, 15, 60, 240)},
        **{f"up_share_{n}": mean([(sign(r) + 1) / 2 for r in returns[-n:]]) for n in (15, 60)},
        "pressure_15": mean([a * b for a, b in zip(z[-15:], relative[-15:], strict=True)]),
        "staleness": math.log(1 + t - max(i for i in range(t + 1) if bars.observed_T[i])),
        "age": math.log(1 + t),
        "time_sin": math.sin(day),
        "time_cos": math.cos(day),
    }


@pytest.mark.parametrize("seed", range(4))
def test_features_equal_their_documented_formulas(seed: int) -> None:
    bars = violent_bars(seed, 300)
    x_TF = features(bars, EXTRAS)
    for t in (0, 1, 2, 3, 14, 15, 16, 59, 60, 61, 130, 239, 240, 241, 299):
        plain = plain_features(bars, t)
        assert tuple(plain) == FEATURE_NAMES
        np.testing.assert_allclose(x_TF[t, :-1], list(plain.values()), rtol=1e-6, atol=2e-6, err_msg=f"minute {t}")
    np.testing.assert_array_equal(x_TF[:, -1], bars.extras_TE[:, 0].astype(np.float32))


def quiet_bars(price: Sequence[float], volume: Sequence[float]) -> Bars:
    minutes = len(price)
    return Bars(
        start=np.datetime64("2025-01-01T06:00", "m"),
        price_T=np.array(price, dtype=float),
        volume_T=np.array(volume, dtype=float),
        observed_T=np.ones(minutes, dtype=bool),
        staleness_T=np.zeros(minutes, dtype=np.int64),
        extras_TE=np.empty((minutes, 0)),
        unusable_rows=0,
        goes_on=False,
    )


@pytest.mark.parametrize(
    ("before", "after"), [(1e6, 1.0), (1e12, 1.0), (1e30, 1e-30), (1e300, 1.0), (1e30, 0.0), (1.0, 1e30), (0.0, 1.0)]
)
def test_features_stay_exact_when_the_volume_collapses_or_bursts(before: float, after: float) -> None:
    price = np.exp(np.cumsum(np.tile([0.01, -0.02, 0.01, 0.005], 75)))
    bars = quiet_bars(price, np.where(np.arange(300) < 30, before, after))
    x_TF = features(bars)
    for t in (29, 30, 44, 45, 60, 299):
        plain = plain_features(bars, t)
        np.testing.assert_allclose(x_TF[t], list(plain.values()), rtol=1e-6, atol=1e-5, err_msg=f"minute {t}")


def test_a_volume_next_to_nothing_gives_finite_features() -> None:
    assert np.isfinite(features(quiet_bars([1.0, 2.0] * 150, [1e-307] + [0.0] * 299))).all()


EDGES = st.sampled_from([5e-324, 1e-308, 1e-200, 1.0, 1.0000000000000002, 1e200, 1e308, 1.7976931348623157e308])


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            EDGES | st.floats(min_value=1e-307, allow_infinity=False, allow_subnormal=False),
            st.just(0.0) | EDGES | st.floats(min_value=1e-307, allow_infinity=False, allow_subnormal=False),
            EDGES | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
        ),
        min_size=1,
        max_size=300,
    )
)
def test_features_are_finite_for_any_finite_price_volume_and_extra(rows: list[tuple[float, float, float]]) -> None:
    price, volume, extra = zip(*rows, strict=True)
    bars = dataclasses.replace(quiet_bars(price, volume), extras_TE=np.array(extra)[:, None])
    assert np.isfinite(features(bars, EXTRAS)).all()


@pytest.mark.parametrize("minutes", [1, 2, 300])
@pytest.mark.parametrize("volume", [5e-324, 1e300, 1e308, 1.7976931348623157e308])
def test_a_volume_at_the_edge_of_float64_gives_finite_features(volume: float, minutes: int) -> None:
    price = np.resize([1.0, 5e-324, 1.79e308], minutes)
    assert np.isfinite(features(quiet_bars(price.tolist(), [volume] * minutes))).all()


def test_a_series_that_never_moves_nor_trades_is_neutral() -> None:
    x_TF = features(quiet_bars([2.0] * 20, [0.0] * 20))
    neutral = dict.fromkeys(FEATURE_NAMES, 0.0) | {"position": 0.5, "up_share_15": 0.5, "up_share_60": 0.5}
    for name in set(FEATURE_NAMES) - {"age", "time_sin", "time_cos"}:
        np.testing.assert_array_equal(x_TF[:, FEATURE_NAMES.index(name)], neutral[name], err_msg=name)


def test_an_extra_beyond_float32_is_cut_to_it() -> None:
    bars = dataclasses.replace(quiet_bars([1.0], [1.0]), extras_TE=np.array([[1e300, -1e300]]))
    largest = np.finfo(np.float32).max
    assert features(bars, ("a", "b"))[0, -2:].tolist() == [largest, -largest]


def test_each_feature_is_computed_from_the_series_alone() -> None:
    bars = violent_bars(5, 100)
    for column, feature in enumerate(FEATURES):
        alone = feature.compute(Series(bars)).astype(np.float32)
        np.testing.assert_array_equal(features(bars, EXTRAS)[:, column], alone, err_msg=feature.name)


def test_the_digest_of_the_formulas_is_the_same_on_every_machine() -> None:
    """No value lies so near to a half that the last bits of a logarithm decide how it is rounded."""
    scaled = features(fixed_bars())[list(LOOKED_AT)].astype(np.float64) / ROUNDED_TO
    assert np.abs(scaled - np.floor(scaled) - 0.5).min() > 1e-3
    # Whoever changes a formula makes datasets and bundles of before unusable, and says so here.
    assert formulas_digest() == "6e8f4c68946cd080"


def test_every_formula_decides_the_digest() -> None:
    x_TF = features(fixed_bars())[list(LOOKED_AT)]
    assert (np.ptp(x_TF, axis=0) > 10 * ROUNDED_TO).all()
