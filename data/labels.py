"""Labels: is the last price by then higher (up) or not (down), at each horizon.

Shapes: T minutes from launch, H horizons.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.schema import MASKED, LabelRule, Ties


@dataclass(frozen=True)
class Labels:
    """A (minute, horizon) without a label is unobserved, ended or, where ties are dropped, tied: one of them."""

    y_TH: NDArray[np.int8]
    """1 if the price is higher h minutes later, else 0; MASKED where that is not known."""
    unobserved_TH: NDArray[np.bool_]
    """Nothing was traded in the minute itself or, by the rule `exact`, h minutes later."""
    ended_TH: NDArray[np.bool_]
    """h minutes later nobody collected any more or, by the rule `exact`, the series had ended."""
    tied_TH: NDArray[np.bool_]
    """Both prices are equal, whatever their label."""
    settled_TH: NDArray[np.bool_]
    """The series trades no more by then: the later price is its very last."""
    used_minutes: int
    """From launch on, as far as any label looks."""


def labels(
    price_T: NDArray[np.float64],
    observed_T: NDArray[np.bool_],
    horizons: Sequence[int],
    collected: int,
    ties: Ties = "drop",
    rule: LabelRule = "last",
    minutes: int | None = None,
) -> Labels:
    """Of the first so many minutes, or of all. price_T: of an unobserved minute, the last one before. collected: how
    many minutes from launch a trade of this series would have been recorded; that may be more than there are bars.

    By the rule `last` the later price is the last one at or before t+h, so that a token which stops trading has an
    outcome: those that stop are mostly those that fell. By the rule `exact` a bar has to stand at t+h.
    """
    t_T1, h_1H = np.arange(len(price_T))[:minutes, None], np.array(horizons, dtype=np.int64)[None, :]
    later_TH = t_T1 + h_1H
    there_TH = np.minimum(later_TH, len(price_T) - 1)
    settled_TH = later_TH >= len(price_T)
    ended_TH = settled_TH if rule == "exact" else later_TH >= collected
    unobserved_TH = np.broadcast_to(~observed_T[:minutes, None], later_TH.shape)
    if rule == "exact":
        unobserved_TH = unobserved_TH | ~observed_T[there_TH]
    # What is lost for both causes would be lost if collection went on, too.
    ended_TH = ended_TH & ~unobserved_TH
    known_TH = ~(unobserved_TH | ended_TH)
    now_T1, then_TH = price_T[:minutes, None], price_T[there_TH]
    tied_TH = known_TH & (then_TH == now_T1)
    labelled_TH = known_TH & ~tied_TH if ties == "drop" else known_TH
    return Labels(
        y_TH=np.where(labelled_TH, then_TH > now_T1, MASKED).astype(np.int8),
        unobserved_TH=unobserved_TH,
        ended_TH=ended_TH,
        tied_TH=tied_TH,
        settled_TH=settled_TH & known_TH,
        used_minutes=int(later_TH[known_TH].max(initial=-1)) + 1,
    )
