"""The four slices: cut by launch, and never a bar in two of them at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.schema import SLICES, InputError
from data.split import PURGED, Shares, Split, split

DAY = np.datetime64("2025-01-01T00:00", "m")


def cut(starts: list[int], lengths: list[int] | int, shares: Shares | None = None) -> Split:
    start_M = DAY + np.array(starts)
    return split(start_M, start_M + np.array(lengths) - 1, shares or Shares())


def test_slices_follow_the_launches_and_not_the_order_of_files() -> None:
    starts = np.random.default_rng(0).permutation(100) * 10
    sliced = cut(starts.tolist(), 10)
    assert sliced.slice_M[np.argsort(starts)].tolist() == [0] * 60 + [1] * 15 + [2] * 10 + [3] * 15


def test_launches_of_one_minute_stay_together() -> None:
    sliced = cut([0, 10, 20, 30, 30, 30, 40, 50, 60, 70], 1, Shares(0.4, 0.3, 0.2, 0.1))
    assert sliced.cut_M.tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 3]


def test_a_series_is_purged_from_the_minute_at_which_it_meets_the_next_slice() -> None:
    quarters = Shares(0.25, 0.25, 0.25, 0.25)
    assert cut([0, 10, 20, 30], [10, 10, 10, 999], quarters).slice_M.tolist() == [0, 1, 2, 3]
    sliced = cut([0, 1, 10, 11, 20, 21, 30, 31], [11, 9, 10, 10, 9, 9, 999, 999], quarters)
    assert sliced.slice_M.tolist() == [PURGED, 0, 1, PURGED, 2, 2, 3, 3]
    assert [sliced.purged_from(name) for name in SLICES] == [1, 1, 0, 0]


@settings(max_examples=200, deadline=None)
@given(
    series=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), min_size=4, max_size=40),
    weights=st.tuples(*[st.integers(1, 9)] * 4),
)
def test_no_kept_series_reaches_into_a_later_slice(
    series: list[tuple[int, int]], weights: tuple[int, int, int, int]
) -> None:
    shares = Shares(*(weight / sum(weights) for weight in weights))
    starts, lengths = np.array(series).T
    try:
        sliced = cut(starts.tolist(), lengths.tolist(), shares)
    except InputError:
        return
    lasts = starts + lengths - 1
    for index in range(len(SLICES)):
        kept, later = sliced.slice_M == index, sliced.cut_M > index
        first_later = starts[later].min(initial=10**9)
        assert kept.any()
        assert (lasts[kept] < first_later).all()
        # What is purged had to be.
        assert (lasts[(sliced.cut_M == index) & ~kept] >= first_later).all()
        assert (starts[sliced.cut_M == index] < first_later).all()


def test_an_empty_slice_is_refused_with_numbers_and_ways_out() -> None:
    with pytest.raises(
        InputError,
        match=r"slice 'tune' is empty: of 20 series 3 were cut into it and 3 of them purged .*"
        r"--expanding-max.*--horizons.*--slices",
    ):
        cut(list(range(0, 200, 10)), [5] * 12 + [100] * 3 + [5] * 5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_series_than_slices_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"is empty: of {count} series 0 were cut into it"):
        cut(list(range(0, 10 * count, 10)), 1)


@pytest.mark.parametrize(
    "shares",
    [(0.6, 0.2, 0.2, 0.0), (0.5, 0.5, 0.5, -0.5), (0.6, 0.15, 0.1, 0.2), (float("nan"), 0.5, 0.25, 0.25)],
)
def test_shares_are_above_zero_and_sum_to_one(shares: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match=r"must be above 0 and sum to 1, got \("):
        Shares(*shares)


def test_shares_are_read_from_text() -> None:
    assert Shares.parse("0.7/0.1/0.1/0.1").as_tuple() == (0.7, 0.1, 0.1, 0.1)
    for text in ("0.7/0.3", "a/b/c/d", ""):
        with pytest.raises(InputError, match=f"four shares like 0.6/0.15/0.1/0.15, got '{text}'"):
            Shares.parse(text)
