"""Hyperparameter search for models of many short time series, with results that hold."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybridtune.models.bundle import Bundle

HOMES = {
    "Bundle": "hybridtune.models.bundle",
}
"""Public name -> its module, imported at first use: `import hybridtune` loads neither torch nor Ray."""

__all__ = ["Bundle"]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'hybridtune' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
