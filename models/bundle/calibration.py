"""What maps the ensemble's probability at a horizon to one that matches the observed frequency.

Only how it is applied: search/finalists/calibrate.py fits it, a bundle carries it.
"""

from itertools import pairwise
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

EPSILON = 1e-7
"""Probabilities are kept so far from 0 and 1, whose logits are infinite."""


class Calibration(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["none", "temperature", "isotonic"] = "none"
    temperature: float = Field(default=1.0, ge=0.05, le=20.0)
    """Divides the logit (Guo et al. 2017, section 4.2)."""
    thresholds: tuple[float, ...] = ()
    """Isotonic: probabilities before calibration, ascending. Between two of them the values are interpolated."""
    values: tuple[float, ...] = ()
    """Isotonic: the calibrated probability at each threshold."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.kind == "isotonic") != bool(self.thresholds) or len(self.thresholds) != len(self.values):
            raise ValueError("an isotonic calibration, and no other, has as many thresholds as values")
        if any(low >= high for low, high in pairwise(self.thresholds)):
            raise ValueError("the thresholds must ascend")
        if any(low > high for low, high in pairwise((0.0, *self.values, 1.0))):
            raise ValueError("the values must not descend, nor leave 0 to 1")
        return self

    def apply(self, p_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities in, probabilities out, of any shape."""
        if self.kind == "none":
            return p_A
        if self.kind == "temperature":
            up_A = p_A.clip(EPSILON, 1 - EPSILON) ** (1 / self.temperature)
            down_A = (1 - p_A).clip(EPSILON, 1 - EPSILON) ** (1 / self.temperature)
            scaled_A: NDArray[np.float64] = up_A / (up_A + down_A)
            return scaled_A
        return np.interp(p_A, self.thresholds, self.values)


def calibrated(p_AH: NDArray[np.float64], calibration_H: tuple[Calibration, ...]) -> NDArray[np.float64]:
    """Each horizon through its own."""
    columns = [calibration.apply(p_AH[:, h]) for h, calibration in enumerate(calibration_H)]
    return np.stack(columns, axis=1) if len(p_AH) else p_AH
