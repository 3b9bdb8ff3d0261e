"""Extra columns that are hardly what they should be: one that knows the future, one that never changes.

Shapes: M series, A anchors, E extra features, H horizons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybridtune.data.text import shown

KNOWING = 0.9
"""AUC that no single column reaches which knows the past only."""
FEWEST = 100
"""Labels of either kind that say anything about an AUC."""
ANCHORS_PER_SERIES = 16


@dataclass(frozen=True)
class ExtraSample:
    """What is remembered of the extra features of one series, or of several."""

    values_AE: NDArray[np.float32]
    """At some of its anchors."""
    y_AH: NDArray[np.int8]
    constant_E: NDArray[np.bool_]
    """Which have one value at every minute."""

    @classmethod
    def of(cls, extras_TE: NDArray[np.float32], y_TH: NDArray[np.int8], anchors: NDArray[np.int64]) -> Self:
        some = anchors[:: -(-len(anchors) // ANCHORS_PER_SERIES)]
        return cls(extras_TE[some], y_TH[some], (extras_TE == extras_TE[0]).all(axis=0))

    @classmethod
    def joined(cls, samples: Sequence[Self]) -> Self:
        """samples: at least one. Constant is what is so in each."""
        return cls(
            np.concatenate([sample.values_AE for sample in samples]),
            np.concatenate([sample.y_AH for sample in samples]),
            np.all([sample.constant_E for sample in samples], axis=0),
        )


def suspects(names: Sequence[str], horizons: Sequence[int], sample: ExtraSample) -> list[str]:
    """A line for each of the columns that looks wrong."""
    lines = []
    for index, name in enumerate(names):
        if sample.constant_E[index]:
            lines.append(f"extra column {shown(name)} never changes within a series: it tells tokens apart only")
            continue
        aucs = [_auc(sample.values_AE[:, index], sample.y_AH[:, column]) for column in range(len(horizons))]
        best = int(np.argmax(np.abs(np.array(aucs) - 0.5)))
        if max(aucs[best], 1 - aucs[best]) > KNOWING:
            lines.append(
                f"extra column {shown(name)} alone tells up from down at {horizons[best]} minutes (AUC "
                f"{aucs[best]:.2f} on train): does it know the future?"
            )
    return lines


def _auc(values_A: NDArray[np.float32], y_A: NDArray[np.int8]) -> float:
    """0.5 where there are too few labels."""
    known_A = y_A >= 0
    up_A = y_A[known_A] == 1
    ups, downs = int(up_A.sum()), int((~up_A).sum())
    if min(ups, downs) < FEWEST:
        return 0.5
    rank_A = pd.Series(values_A[known_A]).rank().to_numpy()
    return float((rank_A[up_A].sum() - ups * (ups + 1) / 2) / (ups * downs))
