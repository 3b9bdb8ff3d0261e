"""The basic LSTM: one fixed window, one LSTM, a head a horizon. The baseline a hybrid must beat.

Shapes: M series, T minutes, K anchors, F features, D hidden, H horizons.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from models.check import at_least, check_sizes
from models.forecaster import Forecaster
from models.layers import HorizonHeads, WindowEncoder
from models.scaler import make_scaling


class BasicLSTM(Forecaster):
    @dataclass(frozen=True)
    class Config:
        input_size: int
        """Features of a bar."""
        horizons: int
        """How many horizons are predicted."""
        window: int = 60
        """Minutes up to the anchor that the LSTM reads."""
        hidden_size: int = 128
        layers: int = 1
        dropout: float = 0.3
        scaling: str = "standard"
        """Of the features: standard, robust or quantile."""

        def __post_init__(self) -> None:
            check_sizes(self)
            at_least("window", self.window, 1)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.scaling = make_scaling(config.scaling, config.input_size)
        self.encoder = WindowEncoder(
            config.window, config.input_size, config.hidden_size, config.layers, config.dropout
        )
        self.dropout = nn.Dropout(config.dropout)
        self.heads = HorizonHeads(config.hidden_size, config.hidden_size // 2, config.horizons, config.dropout)

    def forward(self, x_MTF: Tensor, length_M: Tensor, anchor_MK: Tensor) -> Tensor:  # noqa: ARG002 the one signature
        state_MKD = self.encoder(self.scaling(x_MTF), anchor_MK)
        logits_MKH: Tensor = self.heads(self.dropout(state_MKD))
        return logits_MKH
