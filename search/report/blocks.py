"""Statistics whose unit is a block of calendar time, as launches of the same days meet one market.

Without skill the contributions of two anchors to a score are uncorrelated only where they lie more than a horizon
apart, so a block spans two horizons. Neighbouring launches, or neighbouring hours, are no independent observations.

Shapes: A anchors, G blocks, H horizons.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from hybridtune.models.loss_and_auc import Values

BLOCK_HORIZONS: Final = 2
"""Length of a block in horizons."""
FEWEST_BLOCKS: Final = 10
"""With fewer blocks nothing is claimed and no interval is given."""
LEVEL: Final = 0.05
"""Probability of a false claim, over all claims of a kind together."""

NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float = NAN
    high: float = NAN
    """The interval that covers 95%; NaN where there are too few blocks."""
    p_value: float = 1.0
    """One-sided, of a value that is 0 or less."""


def calendar_blocks(time_A: NDArray[np.datetime64], horizon: int) -> NDArray[np.int64]:
    """The block of each anchor, counted from 0 without gaps. horizon: in minutes."""
    minute_A = time_A.astype("datetime64[m]").astype(np.int64)
    _, block_A = np.unique(minute_A // (BLOCK_HORIZONS * horizon), return_inverse=True)
    return block_A.astype(np.int64)


def count_blocks(block_A: NDArray[np.int64]) -> int:
    return int(block_A.max()) + 1 if len(block_A) else 0


def p_value_of_sum(saved_A: Values, block_A: NDArray[np.int64]) -> float:
    """Of the hypothesis that nothing is saved: one-sided t test of the sums over blocks. 1 with too few blocks."""
    sums_G = np.bincount(block_A, saved_A)
    blocks, spread = len(sums_G), sums_G.std(ddof=1) if len(sums_G) > 1 else 0.0
    if blocks < FEWEST_BLOCKS or spread == 0:
        return 1.0
    return float(student_t.sf(sums_G.mean() / (spread / np.sqrt(blocks)), blocks - 1))


def jackknife(value: float, without_G: Values) -> Estimate:
    """A statistic with its interval, from its values without each of the blocks (Efron and Tibshirani 1993, chapter
    11), by Student's t with G - 1 degrees of freedom. NaN without some block means that the interval is not known.
    """
    blocks = len(without_G)
    if blocks < FEWEST_BLOCKS or not np.isfinite(without_G).all():
        return Estimate(value)
    error = float(np.sqrt((blocks - 1) * np.var(without_G)))
    reach = float(student_t.isf(0.025, blocks - 1)) * error
    p_value = float(student_t.sf(value / error, blocks - 1)) if error > 0 else 1.0
    return Estimate(value, value - reach, value + reach, p_value)


def mean_without(values_A: Values, block_A: NDArray[np.int64], blocks: int) -> Values:
    """without_G: the mean of the values that are not in each block; NaN where none is left."""
    sum_G, count_G = np.bincount(block_A, values_A, blocks), np.bincount(block_A, minlength=blocks)
    left_G = len(values_A) - count_G
    without_G: Values = np.divide(values_A.sum() - sum_G, left_G, out=np.full(blocks, NAN), where=left_G > 0)
    return without_G


def auc_without(p_A: Values, y_A: NDArray[np.int8], block_A: NDArray[np.int64], blocks: int) -> Values:
    """without_G: the AUC over the anchors that are not in each block; NaN where they are of one class.

    The AUC is the share of pairs of an up and a down anchor that p orders correctly, a tie counting half (Hanley and
    McNeil 1982). A block takes with it the pairs in which either anchor lies.
    """
    _, rank_A = np.unique(p_A, return_inverse=True)
    up_A = y_A == 1
    won_A = _won(rank_A, up_A)
    # Within a block: ranks of different blocks never meet.
    inside_A = _won(rank_A, up_A, block_A)
    won_G, inside_G = np.bincount(block_A, won_A, blocks), np.bincount(block_A[up_A], inside_A[up_A], blocks)
    up_G, down_G = (np.bincount(block_A[chosen], minlength=blocks) for chosen in (up_A, ~up_A))
    # Pairs of two anchors of a block were counted from both ends.
    correct_G = won_A[up_A].sum() - won_G + inside_G
    pairs_G = ((up_A.sum() - up_G) * (np.sum(~up_A) - down_G)).astype(np.float64)
    without_G: Values = np.divide(correct_G, pairs_G, out=np.full(blocks, NAN), where=pairs_G > 0)
    return without_G


def _won(rank_A: NDArray[np.int64], up_A: NDArray[np.bool_], block_A: NDArray[np.int64] | None = None) -> Values:
    """For each anchor, how many of the other class p orders correctly beside it; of its block only, if given."""
    ranks = int(rank_A.max()) + 1 if len(rank_A) else 1
    first_A = np.zeros_like(rank_A) if block_A is None else block_A * ranks
    won_A = np.empty(len(rank_A))
    for mine_A, up in ((up_A, True), (~up_A, False)):
        others = np.sort((first_A + rank_A)[~mine_A])
        mine = (first_A + rank_A)[mine_A]
        lower = (np.searchsorted(others, mine, "left") + np.searchsorted(others, mine, "right")) / 2
        first, last = (np.searchsorted(others, first_A[mine_A] + edge) for edge in (0, ranks))
        won_A[mine_A] = lower - first if up else last - lower
    return won_A
