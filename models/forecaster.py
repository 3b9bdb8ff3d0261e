"""What every architecture is, whatever it does inside."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from models.scaler import Scaling


class Forecaster(nn.Module, ABC):
    """Raw features in, a logit for each anchor and horizon out.

    The exactness contract: in eval mode the logits of an anchor are, to 1e-5, those that the same weights give
    when its series is cut there and fed alone. So nothing looks ahead, and neither padding nor company matters.
    """

    Config: type[Any]
    config: Any
    scaling: Scaling

    @abstractmethod
    def forward(self, x_MTF: Tensor, length_M: Tensor, anchor_MK: Tensor) -> Tensor:
        """logits_MKH: of a rise, for K anchors (minutes from launch) of each of M series of T bars."""
