"""Some of many anchors, the same ones whoever asks."""

from math import isqrt

import numpy as np

from hybridtune.data.store import Anchors

ANCHORS_EACH = 16
"""Of a series, where there are more than enough of them: they share one pass over it, but are alike too."""


def spread(anchors: Anchors, most: int) -> Anchors:
    """At most so many, spread evenly over the series in their order and over the minutes of each; all if they are no
    more than that.

    Where all series together give that many by ANCHORS_EACH or more of each, all of them do, as evenly as they can;
    else some give so many. Where few anchors are wanted they are of as many series as there are of each.
    """
    if len(anchors) <= most:
        return anchors
    firsts = np.flatnonzero(np.diff(anchors.series_A, prepend=-1))
    counts = np.diff(firsts, append=len(anchors))
    fewest, of_all = min(ANCHORS_EACH, isqrt(most)), _of_each(counts, most)
    each = max(fewest, of_all)
    series = range(len(firsts)) if of_all >= fewest else _evenly(len(firsts), most // each)
    chosen = np.concatenate([firsts[one] + _evenly(counts[one], each) for one in series])
    return Anchors(anchors.series_A[chosen], anchors.minute_A[chosen])


def _of_each(counts: np.ndarray, most: int) -> int:
    """How many of each series make at most `most` together, where one that has fewer gives them all."""
    have_more = np.bincount(counts)[::-1].cumsum()[::-1][1:]
    return int(np.searchsorted(have_more.cumsum(), most, side="right"))


def _evenly(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below `count`, ascending."""
    wanted = min(count, most)
    places: np.ndarray = ((np.arange(wanted) + 0.5) * count / wanted).astype(np.int64)
    return places
