"""Hyperparameter search for models of many short time series, with results that hold.

    import hybridtune

    hybridtune.prepare("raw", "dataset")
    run = hybridtune.launch("dataset", "run", trials=30, iterations=20)
    run.trials()                                # a frame, one row for each trial
    bundle = run.export("bundle")
    bundle = hybridtune.Bundle.load("bundle")   # elsewhere, without Ray

Names are imported at their first use: `import hybridtune` loads neither torch nor Ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybridtune.models.bundle import Bundle
    from hybridtune.search.api import launch, open_run, prepare, resume
    from hybridtune.spaces.load import load_space

    __version__: str

__all__ = ["Bundle", "__version__", "launch", "load_space", "open_run", "prepare", "resume"]

_HOMES = {
    "Bundle": "hybridtune.models.bundle",
    "launch": "hybridtune.search.api",
    "load_space": "hybridtune.spaces.load",
    "open_run": "hybridtune.search.api",
    "prepare": "hybridtune.search.api",
    "resume": "hybridtune.search.api",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("hybridtune")
    if name not in _HOMES:
        raise AttributeError(f"module 'hybridtune' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
