"""Messages for series that are too few or too short: the numbers, and the options that help."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def lengths(minutes_M: Sequence[int] | NDArray[np.int64]) -> str:
    """Of what is used of them: bars after the last label are not."""
    shortest, longest = min(minutes_M), max(minutes_M)
    return f"{shortest}/{np.median(minutes_M):.0f}/{longest} minutes long (shortest/median/longest, as far as used)"


LATE_MINUTES = 120
"""A first bar that stands alone for so long may be a test, and the launch later."""


def no_anchor(minutes: int, observed: int, expanding_min: int, horizon: int, tied: bool, second_bar: int) -> str:
    """tied: some of the labels are lost to equal prices. second_bar: its minute."""
    late = f", the second of them {second_bar} minutes after the first" if second_bar >= LATE_MINUTES else ""
    ways = "give longer series, a smaller --expanding-min or shorter --horizons" + (", or --ties down" if tied else "")
    return (
        f"has no usable anchor: {minutes} minutes, {observed} observed{late}; an anchor needs "
        f"{expanding_min} bars and a different price {horizon} minutes later or more: {ways}"
    )


def no_label(
    where: str,
    horizon: int,
    minutes_M: Sequence[int],
    anchors: int,
    expanding_min: int,
    expanding_max: int,
    hiding_stride: int | None,
    tied: bool,
    others_have: bool,
    exact: bool,
) -> str:
    """hiding_stride: the anchor stride, if other minutes of these series have labels; others_have: other series do.
    exact: the rule of the labels.
    """
    needed = expanding_min + horizon
    ways = [f"drop {horizon} from --horizons"]
    if hiding_stride is not None:
        ways.append(f"a smaller --anchor-stride than {hiding_stride}")
    elif max(minutes_M) < needed:
        longer = "longer series, or --labels last" if exact else "series that were collected for longer"
        ways.append(f"a smaller --expanding-min than {expanding_min}, {longer}")
    else:
        ways.append(f"a larger --expanding-max than {expanding_max}")
    if tied:
        ways.append("--ties down")
    if others_have:
        ways.append("a larger share of the slice with --slices")
    return (
        f"{where} has no known label at horizon {horizon}: it has {len(minutes_M)} series {lengths(minutes_M)} with "
        f"{anchors} anchors, and a label needs {expanding_min} + {horizon} = {needed} minutes: {', or '.join(ways)}"
    )


def empty_slice(where: str, cut_into: int, minutes_M: NDArray[np.int64], fewer_folds: bool, slices_help: bool) -> str:
    """cut_into: series that were cut into the slice; all of them were purged."""
    ways = ["give more series"]
    if cut_into:
        ways[0] += " or shorter ones (--expanding-max), shorter --horizons"
    if slices_help:
        ways.append("other --slices")
    if fewer_folds:
        ways.append("fewer --folds")
    return (
        f"{where} is empty: of {len(minutes_M)} series {cut_into} were cut into it and {cut_into} of them purged "
        f"because they reach into the next slice; the series are {lengths(minutes_M)}: {', or '.join(ways)}"
    )
