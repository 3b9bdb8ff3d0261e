"""What every architecture is, whatever it does inside."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from hybridtune.models.architectures.scaler import Scaling

Component = Literal["encoder", "attention", "head"]
"""What a part of a model is for; each kind learns at a rate of its own."""


class AttentionMaps(NamedTuple):
    """Attention weights of each anchor; those of a head sum to one."""

    minutes: Tensor
    """(M, heads, K, T): over the minutes since launch."""
    windows: Tensor | None
    """(M, heads, K, S): over the fixed windows, where the architecture has them."""


class Forecaster(nn.Module, ABC):
    """Raw features in, a logit for each anchor and horizon out.

    The exactness contract: in eval mode the logits of an anchor are, to 1e-5, those that the same weights give
    when its series is cut there and fed alone. So neither later bars nor padding nor the rest of the batch matter.
    """

    Config: type[Any]
    config: Any
    scaling: Scaling
    components: ClassVar[Mapping[str, Component]]
    """Every direct part that has parameters."""

    @abstractmethod
    def forward(self, x_MTF: Tensor, anchor_MK: Tensor) -> Tensor:
        """logits_MKH of up, for K anchors (minutes from launch) of each of M series of T bars."""

    def attention(self, x_MTF: Tensor, anchor_MK: Tensor) -> AttentionMaps | None:  # noqa: ARG002 the one signature
        """Attention weights in eval mode; None for an architecture without attention."""
        return None
