"""Rules that the configurations of all architectures share."""

from typing import Protocol

from data.schema import InputError
from models.scaler import check_scaling


class Sizes(Protocol):
    @property
    def input_size(self) -> int: ...
    @property
    def horizons(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def scaling(self) -> str: ...


def check_sizes(config: Sizes) -> None:
    for name in ("input_size", "horizons", "layers"):
        at_least(name, getattr(config, name), 1)
    at_least("hidden_size", config.hidden_size, 2)
    check_scaling(config.scaling)
    if not 0 <= config.dropout < 1:
        raise InputError(f"0 <= dropout < 1 must hold, got dropout={config.dropout}")


def at_least(name: str, value: int, smallest: int) -> None:
    if value < smallest:
        raise InputError(f"{name} must be at least {smallest}, got {value}")
