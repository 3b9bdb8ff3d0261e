"""Forecasts on markets without any signal, as a run would store them: seconds for hundreds of markets, no training.

Prices are random walks that share a common factor: nothing about them can be forecast, and launches of the same days
meet one market.

Shapes: M launches, T minutes, K anchors of a launch, H horizons.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hybridtune.data.schema import DEFAULT_EXPANDING_MAX, DEFAULT_EXPANDING_MIN, DEFAULT_HORIZONS
from hybridtune.search.finalists.predictions import BASE_RATE, ENSEMBLE, StoredPredictions

Forecast = Literal["reversal", "momentum", "noise"]
FORECASTS: tuple[Forecast, ...] = get_args(Forecast)
LAUNCHES = 120
TRAIN = 4
"""The base rate is that of so many times the launches over so many times the time."""
STRIDE = 15
LOGIT = 0.2
"""Of a forecast one deviation from even: weak ones, as strong wrong ones would only lose."""


@dataclass(frozen=True)
class NullMarket:
    market_share: float
    """Of the variance of a minute's return that all launches share."""
    days: float
    """Over which the test slice launches."""
    forecast: Forecast

    def predictions(self, seed: int) -> StoredPredictions:
        rng = np.random.default_rng(seed)
        start_M, price_MT = self._launches(rng, LAUNCHES, self.days)
        minute_K = np.arange(DEFAULT_EXPANDING_MIN - 1, DEFAULT_EXPANDING_MAX, STRIDE)
        up_MKH = _labels(price_MT, minute_K)
        past = _labels(self._launches(rng, TRAIN * LAUNCHES, TRAIN * self.days)[1], minute_K[::4])
        p_MK = 1 / (1 + np.exp(-LOGIT * self._logits(rng, price_MT, minute_K)))
        columns: dict[str, object] = {
            "slice": "test",
            "series": np.repeat(np.arange(LAUNCHES), len(minute_K)),
            "launch": np.repeat(np.datetime64("2025-01-01", "m") + start_M, len(minute_K)).astype("datetime64[us]"),
            "minute": np.tile(minute_K, LAUNCHES),
        }
        for h, horizon in enumerate(DEFAULT_HORIZONS):
            columns[f"label/{horizon}"] = up_MKH[:, :, h].ravel().astype(np.int8)
            columns[f"{ENSEMBLE}/{horizon}"] = p_MK.ravel()
            columns[f"{BASE_RATE}/{horizon}"] = float(past[:, :, h].mean())
        return StoredPredictions(pd.DataFrame(columns), DEFAULT_HORIZONS)

    def _launches(
        self, rng: np.random.Generator, launches: int, days: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """start_M in minutes; price_MT, the logarithm of the price since launch."""
        minutes = DEFAULT_EXPANDING_MAX + max(DEFAULT_HORIZONS)
        span = round(days * 1440)
        start_M = np.sort(rng.integers(0, span, launches))
        common_T = np.sqrt(self.market_share) * rng.standard_normal(span + minutes)
        own_MT = np.sqrt(1 - self.market_share) * rng.standard_normal((launches, minutes))
        return start_M, np.cumsum(own_MT + common_T[start_M[:, None] + np.arange(minutes)], axis=1)

    def _logits(
        self, rng: np.random.Generator, price_MT: NDArray[np.float64], minute_K: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """In deviations; one forecast for all horizons."""
        if self.forecast == "noise":
            return np.repeat(rng.standard_normal((len(price_MT), 1)), len(minute_K), axis=1)
        since_launch_MK = (price_MT[:, minute_K] - price_MT[:, :1]) / np.sqrt(minute_K)
        return since_launch_MK if self.forecast == "momentum" else -since_launch_MK


def _labels(price_MT: NDArray[np.float64], minute_K: NDArray[np.int64]) -> NDArray[np.bool_]:
    now_MK = price_MT[:, minute_K]
    return np.stack([price_MT[:, minute_K + horizon] > now_MK for horizon in DEFAULT_HORIZONS], axis=-1)
