"""Rules that the configurations of all architectures share."""

from typing import Protocol

from data.schema import InputError
from models.architectures.scaler import check_scaling

HORIZON_HEADS = ("independent", "hierarchical")


class Sizes(Protocol):
    @property
    def input_size(self) -> int: ...
    @property
    def horizons(self) -> int: ...
    @property
    def history(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def scaling(self) -> str: ...
    @property
    def horizon_heads(self) -> str: ...


def check_sizes(config: Sizes) -> None:
    for name in ("input_size", "horizons", "history"):
        at_least(name, getattr(config, name), 1)
    at_least("hidden_size", config.hidden_size, 2)
    check_scaling(config.scaling)
    if not 0 <= config.dropout < 1:
        raise InputError(f"0 <= dropout < 1 must hold, got dropout={config.dropout}")
    if config.horizon_heads not in HORIZON_HEADS:
        raise InputError(f"horizon_heads must be one of {', '.join(HORIZON_HEADS)}, got {config.horizon_heads!r}")


def check_window(name: str, minutes: int, history: int) -> None:
    at_least(name, minutes, 1)
    if minutes > history:
        raise InputError(
            f"{name} must be at most the history of {history} minutes, got {minutes}: shorten it or prepare with a "
            "larger --expanding-max"
        )


def check_heads(hidden_size: int, heads: int) -> None:
    at_least("attention_heads", heads, 1)
    if hidden_size % heads:
        raise InputError(
            f"attention_heads must divide hidden_size, got (attention_heads={heads}, hidden_size={hidden_size})"
        )


def at_least(name: str, value: int, smallest: int) -> None:
    if value < smallest:
        raise InputError(f"{name} must be at least {smallest}, got {value}")
