"""What the configurations of all architectures share, and the rules for it. Needs no torch."""

from dataclasses import dataclass
from typing import Literal, get_args

from hybridtune.data.schema import DEFAULT_EXPANDING_MAX, InputError, at_least, check_choice

ScalingName = Literal["standard", "robust", "quantile"]
PositionsName = Literal["none", "sinusoidal", "learned", "rotary"]
HorizonHeadsName = Literal["independent", "hierarchical"]
WindowRunsName = Literal["own", "shared"]


@dataclass(frozen=True, kw_only=True)
class ArchitectureConfig:
    input_size: int
    """Features of a bar."""
    horizons: int
    """How many horizons are predicted."""
    history: int = DEFAULT_EXPANDING_MAX
    """Most bars of a series."""
    hidden_size: int = 128
    dropout: float = 0.3
    """Share of the values that are dropped in training, at least 0 and below 1."""
    scaling: ScalingName = "standard"
    """Of the features."""
    horizon_heads: HorizonHeadsName = "independent"
    """hierarchical: each head reads that of the next shorter horizon."""

    def __post_init__(self) -> None:
        for name in ("input_size", "horizons", "history"):
            at_least(name, getattr(self, name), 1)
        at_least("hidden_size", self.hidden_size, 2)
        check_choice("scaling", self.scaling, get_args(ScalingName))
        check_choice("horizon_heads", self.horizon_heads, get_args(HorizonHeadsName))
        if not 0 <= self.dropout < 1:
            raise InputError(f"0 <= dropout < 1 must hold, got dropout={self.dropout}")


def check_window(name: str, minutes: int, history: int) -> None:
    at_least(name, minutes, 1)
    if minutes > history:
        raise InputError(
            f"{name} must be at most the history of {history} minutes, got {minutes}: shorten it or prepare with a "
            "larger --expanding-max"
        )


def check_attention(hidden_size: int, heads: int, positions: str) -> None:
    at_least("attention_heads", heads, 1)
    if hidden_size % heads:
        raise InputError(
            f"attention_heads must divide hidden_size, got (attention_heads={heads}, hidden_size={hidden_size})"
        )
    check_choice("positions", positions, get_args(PositionsName))
    if positions == "sinusoidal" and hidden_size % 2:
        raise InputError(f"sinusoidal positions need an even hidden_size, got {hidden_size}")
    if positions == "rotary" and (hidden_size // heads) % 2:
        raise InputError(
            "rotary positions need hidden_size / attention_heads to be even, "
            f"got (hidden_size={hidden_size}, attention_heads={heads})"
        )
