"""The four slices: cut by launch, and never a bar in two of them at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridtune.data.schema import SLICES, InputError
from hybridtune.data.split import PURGED, Shares, Split, earlier_folds, split

DAY = np.datetime64("2025-01-01T00:00", "m")


def cut(starts: list[int], lengths: list[int] | int, shares: Shares | None = None) -> Split:
    start_M = DAY + np.array(starts)
    return split(start_M, start_M + np.array(lengths) - 1, shares or Shares())


def test_slices_follow_the_launches_and_not_the_order_of_files() -> None:
    starts = np.random.default_rng(0).permutation(100) * 10
    sliced = cut(starts.tolist(), 10)
    assert sliced.slice_M[np.argsort(starts)].tolist() == [0] * 60 + [1] * 15 + [2] * 10 + [3] * 15


def test_the_last_slice_is_never_purged_even_in_the_last_years_that_a_file_can_name() -> None:
    start_M = np.array(["2025", "2026", "2027", "9999-12-31T23:00"], dtype="datetime64[m]")
    sliced = split(start_M, start_M + 100, Shares(0.25, 0.25, 0.25, 0.25))
    assert sliced.slice_M.tolist() == [0, 1, 2, 3]


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
        r"the series are 5/5/100 minutes long \(shortest/median/longest.*--expanding-max.*--horizons.*--slices",
    ):
        cut(list(range(0, 200, 10)), [5] * 12 + [100] * 3 + [5] * 5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_series_than_slices_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"is empty: of {count} series 0 were cut into it .*: give more series$"):
        cut(list(range(0, 10 * count, 10)), 1)


def test_an_empty_slice_of_a_fold_is_named_with_it() -> None:
    starts = DAY + np.arange(40) * 10
    with pytest.raises(InputError, match=r"slice 'train' of fold 1 of 4 is empty: .*, or fewer --folds"):
        earlier_folds(starts, starts + np.where(np.arange(40) < 6, 999, 5), Shares(), 4)


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


@settings(max_examples=100, deadline=None)
@given(
    series=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 40)), min_size=12, max_size=60),
    folds=st.integers(2, 4),
)
def test_no_fold_trains_on_what_reaches_into_its_tune_slice(series: list[tuple[int, int]], folds: int) -> None:
    starts, lengths = np.array(series).T
    lasts = starts + lengths - 1
    try:
        earlier = earlier_folds(DAY + starts, DAY + lasts, Shares(), folds)
    except InputError:
        return
    assert len(earlier) == folds - 1
    for fold in earlier:
        train, tune, follows = (fold.slice_M == 0), (fold.slice_M == 1), (fold.cut_M == 2)
        assert lasts[train].max() < starts[fold.cut_M == 1].min()
        assert lasts[tune].max() < starts[follows].min()
        assert not (train | tune)[follows].any()


def test_the_origin_moves_forward_by_the_tune_share_and_the_last_fold_is_the_split_itself() -> None:
    starts = np.arange(100) * 10
    folds = earlier_folds(DAY + starts, DAY + starts + 9, Shares(), 3)
    assert [(fold.slice_M == 0).sum() for fold in folds] == [30, 45]
    assert [np.flatnonzero(fold.slice_M == 1).tolist() for fold in folds] == [list(range(30, 45)), list(range(45, 60))]
    assert earlier_folds(DAY + starts, DAY + starts + 9, Shares(), 1) == []


def test_more_folds_than_the_train_share_holds_are_refused_with_the_numbers() -> None:
    starts = DAY + np.arange(100) * 10
    with pytest.raises(
        InputError, match=r"5 folds need a train share above 4 tune shares, got train=0\.6 and tune=0\.15"
    ):
        earlier_folds(starts, starts + 9, Shares(), 5)
