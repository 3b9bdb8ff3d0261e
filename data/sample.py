"""Some of many anchors, the same ones whoever asks."""

import numpy as np

from hybridtune.data.store import Anchors

ANCHORS_EACH = 16
"""Of a series: they share one pass over it, but are alike too."""


def spread(anchors: Anchors, most: int) -> Anchors:
    """At most so many, spread evenly over the series in their order and over the minutes of each; all if they are no
    more than that.
    """
    if len(anchors) <= most:
        return anchors
    firsts = np.flatnonzero(np.diff(anchors.series_A, prepend=-1))
    counts = np.diff(firsts, append=len(anchors))
    each = min(ANCHORS_EACH, most)
    series = _evenly(len(firsts), most // each)
    chosen = np.concatenate([firsts[one] + _evenly(counts[one], each) for one in series])
    return Anchors(anchors.series_A[chosen], anchors.minute_A[chosen])


def _evenly(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below `count`, ascending."""
    wanted = min(count, most)
    places: np.ndarray = ((np.arange(wanted) + 0.5) * count / wanted).astype(np.int64)
    return places
