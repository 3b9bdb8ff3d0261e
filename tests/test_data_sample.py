"""Some of many anchors: the same ones each time, from all over."""

import math

import numpy as np
import pytest

from hybridtune.data.sample import ANCHORS_EACH, spread
from hybridtune.data.store import Anchors


def anchors(counts: list[int]) -> Anchors:
    """counts: of each series; its minutes are 60, 75, 90 and so on."""
    return Anchors(
        np.repeat(np.arange(len(counts)), counts), np.concatenate([60 + 15 * np.arange(count) for count in counts])
    )


@pytest.mark.parametrize("most", [60, 61, 10_000])
def test_all_are_taken_where_they_are_no_more_than_asked_for(most: int) -> None:
    given = anchors([20, 20, 20])
    assert spread(given, most) is given


@pytest.mark.parametrize("most", [1, 5, 16, 100, 1000, 4096])
def test_no_more_than_asked_for_from_all_over_the_series_and_their_minutes(most: int) -> None:
    given = anchors([44] * 1500)
    some = spread(given, most)
    assert most - math.isqrt(most) < len(some) <= most
    pairs = list(zip(some.series_A.tolist(), some.minute_A.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert pairs == sorted(pairs)
    assert set(pairs) <= set(zip(given.series_A.tolist(), given.minute_A.tolist(), strict=True))
    assert np.bincount(some.series_A).max() <= ANCHORS_EACH
    assert abs(some.series_A.mean() - 749.5) < 1500 / len(np.unique(some.series_A))
    assert abs(some.minute_A.mean() - given.minute_A.mean()) <= 15


@pytest.mark.parametrize("series", [93, 94, 100, 200, 255, 256])
def test_one_series_more_is_no_reason_to_take_fewer(series: int) -> None:
    """With 94 series of 44 anchors each an iteration was judged by 1,504 of them, with 93 by all 4,092."""
    some = spread(anchors([44] * series), 4096)
    assert 4096 - series < len(some) <= 4096
    assert len(np.unique(some.series_A)) == series


def test_uneven_series_give_what_they_have_and_the_others_more() -> None:
    some = spread(anchors([10, 80] * 50), 4000)
    assert np.bincount(some.series_A).tolist() == [10, 70] * 50


def test_few_anchors_are_not_all_of_one_series() -> None:
    assert len(np.unique(spread(anchors([44] * 94), 20).series_A)) == 5


def test_a_series_with_few_anchors_gives_those_that_it_has() -> None:
    some = spread(anchors([2, 40, 1, 40]), 64)
    assert np.bincount(some.series_A).tolist() == [2, 30, 1, 30]
