"""The basic LSTM: one fixed window, one LSTM, a head a horizon. The baseline a hybrid must beat.

Shapes: M series, T minutes, K anchors, F features, D hidden, H horizons.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, get_args

from torch import Tensor, nn

from hybridtune.data.schema import at_least, check_choice
from hybridtune.models.architectures.config import ArchitectureConfig, WindowRunsName, check_window
from hybridtune.models.architectures.forecaster import Component, Forecaster
from hybridtune.models.architectures.layers import HorizonHeads, WindowEncoder
from hybridtune.models.architectures.scaler import make_scaling


class BasicLSTM(Forecaster):
    @dataclass(frozen=True, kw_only=True)
    class Config(ArchitectureConfig):
        window: int = 60
        """Minutes up to the anchor that the LSTM reads."""
        window_runs: WindowRunsName = "shared"
        """Whether anchors share runs of the LSTM, see layers.WindowEncoder."""
        layers: int = 1

        def __post_init__(self) -> None:
            super().__post_init__()
            at_least("layers", self.layers, 1)
            check_choice("window_runs", self.window_runs, get_args(WindowRunsName))
            check_window("window", self.window, self.history)

    components: ClassVar[Mapping[str, Component]] = {"encoder": "encoder", "heads": "head"}

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        size, dropout = config.hidden_size, config.dropout
        self.scaling = make_scaling(config.scaling, config.input_size)
        self.encoder = WindowEncoder(config.window, config.input_size, size, config.layers, dropout, config.window_runs)
        self.dropout = nn.Dropout(dropout)
        self.heads = HorizonHeads(size, size // 2, config.horizons, dropout, config.horizon_heads)

    def forward(self, x_MTF: Tensor, anchor_MK: Tensor) -> Tensor:
        state_MKD = self.encoder(self.scaling(x_MTF), anchor_MK)
        logits_MKH: Tensor = self.heads(self.dropout(state_MKD))
        return logits_MKH
