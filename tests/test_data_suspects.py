"""Extra columns that know the future, or never change, are warned of; good ones are not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.suspects import ExtraSample, suspects


def test_a_column_of_the_future_and_one_that_never_changes_are_warned_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "raw").mkdir()
    for day in range(40):
        price = np.exp(rng.normal(0, 0.1, 120).cumsum())
        columns = {
            "datetime": np.datetime64("2025-01-01", "us") + (day * 1440 + np.arange(120)) * np.timedelta64(1, "m"),
            "price": price,
            "volume": rng.lognormal(size=120),
            "tomorrow": np.r_[np.log(price[10:] / price[:-10]), np.zeros(10)],
            "noise": rng.normal(size=120),
            "chain": float(day),
        }
        pd.DataFrame(columns).to_parquet(tmp_path / "raw" / f"{day:02}.parquet")
    config = PrepareConfig(horizons=(2, 10), expanding_min=10, expanding_max=100)
    lines = prepare(tmp_path / "raw", tmp_path / "out", config).summary()
    assert "extra columns, taken as features: chain, noise, tomorrow" in lines
    warned = [line for line in lines if line.startswith("extra column ")]
    assert warned == [
        "extra column 'chain' never changes within a series: it tells tokens apart only",
        "extra column 'tomorrow' alone tells up from down at 10 minutes (AUC 1.00 on train): does it know the future?",
    ]


@pytest.mark.parametrize(("labels", "warned"), [(99, False), (100, True)])
def test_few_labels_say_nothing(labels: int, warned: bool) -> None:
    y_A1 = np.array([[0]] * labels + [[1]] * labels + [[-1]] * 500, dtype=np.int8)
    # It falls as the label rises, which knows as much.
    values_A1 = -y_A1.astype(np.float32)
    sample = ExtraSample(values_A1, y_A1, np.array([False]))
    assert bool(suspects(["x"], [5], sample)) == warned
