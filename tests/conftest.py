"""What several test files share: one generated launch set, prepared once, and a writer of small series."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike

from data.prepare import PrepareConfig, prepare
from data.store import Dataset
from data.synth import SynthConfig, generate
from models.device import use_one_core

HORIZONS = (15, 60)
EXPANDING_MAX = 240

WriteSeries = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def one_core() -> None:
    use_one_core()


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 launches of 400 minutes, below folders that name their category."""
    out = tmp_path_factory.mktemp("raw") / "synth"
    config = SynthConfig(tokens=24, minutes=400, spacing_minutes=400.0, horizons=HORIZONS, expanding_max=EXPANDING_MAX)
    generate(config, out)
    return out / "launches"


@pytest.fixture(scope="session")
def prepare_config() -> PrepareConfig:
    return PrepareConfig(horizons=HORIZONS, expanding_max=EXPANDING_MAX)


@pytest.fixture(scope="session")
def dataset(raw: Path, prepare_config: PrepareConfig, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("prepared") / "dataset"
    prepare(raw, out, prepare_config)
    return Dataset(out)


@pytest.fixture(scope="session")
def write_series() -> WriteSeries:
    """Writes bars of consecutive minutes; columns replace or add to `datetime` and `price`."""

    def write(path: Path, price: ArrayLike, start: str = "2025-01-01T00:00", **columns: ArrayLike) -> Path:
        times = np.datetime64(start, "us") + np.arange(len(np.atleast_1d(price))) * np.timedelta64(1, "m")
        table = pd.DataFrame({"datetime": times, "price": price} | columns)
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)
        return path

    return write
