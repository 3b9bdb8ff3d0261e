"""Labels of tokens that stop trading, mostly after a fall, held against what became of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import WriteSeries

from hybridtune.data.batches import anchor_batches, frozen_labels
from hybridtune.data.launch_process import LaunchProcess, sample
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.schema import SLICES, InputError
from hybridtune.data.split import Shares
from hybridtune.data.store import Dataset
from hybridtune.models.architectures.forecaster import Forecaster
from hybridtune.models.architectures.registry import build_model, model_config
from hybridtune.models.architectures.scaler import train_bars
from hybridtune.models.inference import predict_batch
from hybridtune.models.training.config import TrainConfig
from hybridtune.models.training.fit import Training

TOKENS, MINUTES, HORIZONS, FIRST, LAST = 400, 500, (15, 60, 240), 59, 240
CONFIG = PrepareConfig(horizons=HORIZONS, expanding_max=LAST)
START = np.datetime64("2025-01-01T00:00", "m")


@dataclass(frozen=True)
class Market:
    folder: Path
    log_price_MT: np.ndarray
    """As it would stand at every minute: after the last trade it does not move."""
    bars_M: np.ndarray
    """So many of which are on file."""

    def moves_up(self, horizon: int, tokens: np.ndarray) -> float:
        """Share of the moves up from every minute at which an anchor may stand; equal prices do not count."""
        ups = []
        for token in tokens:
            price = self.log_price_MT[token]
            now = np.arange(FIRST, min(LAST, self.bars_M[token]))
            move = price[now + horizon] - price[now]
            ups.append(move[move != 0] > 0)
        return float(np.concatenate(ups).mean())


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Who has lost a third from the top stops within an hour or so: nearly half do."""
    drawn = sample(LaunchProcess(), MINUTES, np.random.SeedSequence(5).spawn(TOKENS))
    log_price_MT = drawn.log_start_price[:, None] + np.cumsum(drawn.log_return, axis=1)
    fallen_MT = log_price_MT < np.maximum.accumulate(log_price_MT, axis=1) - np.log(1.5)
    stops_MT = fallen_MT & (np.random.default_rng(6).random(fallen_MT.shape) < 1 / 60)
    bars_M = np.where(stops_MT.any(axis=1), np.maximum(stops_MT.argmax(axis=1), 70), MINUTES)
    folder = tmp_path_factory.mktemp("stopping")
    for token, bars in enumerate(bars_M):
        log_price_MT[token, bars:] = log_price_MT[token, bars - 1]
        times = START + np.arange(bars) + token * 180
        columns = {"datetime": times.astype("datetime64[us]"), "price": np.exp(log_price_MT[token, :bars])}
        pd.DataFrame(columns).to_parquet(folder / f"{token:03}.parquet")
    assert 0.35 < (bars_M < MINUTES).mean() < 0.65
    return Market(folder, log_price_MT, bars_M)


def test_the_labels_of_a_market_whose_tokens_stop_are_those_of_what_became_of_them(
    market: Market, tmp_path: Path
) -> None:
    """Where a bar has to stand at t+h, a token that stopped loses just its losses."""
    for rule in ("last", "exact"):
        prepare(market.folder, tmp_path / rule, replace(CONFIG, labels=rule))
    last, exact = Dataset(tmp_path / "last"), Dataset(tmp_path / "exact")
    # The last launches are collected for less than the longest horizon.
    tokens = np.array([int(last.series.name_M[series]) for series in last.members("train")])
    for column, horizon in enumerate(HORIZONS):
        truth = market.moves_up(horizon, tokens)
        assert last.info.slices["train"].up_share[column] == pytest.approx(truth, abs=0.01)
    tokens = np.array([int(exact.series.name_M[series]) for series in exact.members("train")])
    assert exact.info.slices["train"].up_share[-1] > market.moves_up(HORIZONS[-1], tokens) + 0.05


def test_every_label_is_known_or_lost_for_one_cause(market: Market, tmp_path: Path) -> None:
    for rule in ("last", "exact"):
        info = prepare(market.folder, tmp_path / rule, replace(CONFIG, labels=rule))
        for part in info.slices.values():
            causes = (part.known_labels, part.tied_labels, part.ended_labels, part.unobserved_labels)
            assert set(map(sum, zip(*causes, strict=True))) == {part.minutes}
        lines = "\n".join(info.summary())
        assert ("% of the labels 240 minutes ahead are lost: " in lines) == (rule == "exact")
        assert ("rest on the last price of a series that trades no more" in lines) == (rule == "last")
        assert "collected until 2025-02-20" in lines


def trained(dataset: Dataset) -> Forecaster:
    sizes = {"hidden_size": 16, "dropout": 0.2, "window": 60}
    shape = {"input_size": len(dataset.info.features), "horizons": len(HORIZONS)}
    model = build_model(model_config("basic_lstm", sizes | shape), seed=0)
    model.scaling.fit(train_bars(dataset))
    budget = TrainConfig(iterations=8, samples_per_iteration=4096, learning_rate=2e-3)
    training = Training(model, dataset, budget, 0, torch.device("cpu"), "fp32")
    while not training.finished:
        training.run_iteration()
    return training.model


@pytest.mark.slow
def test_a_model_of_survivors_alone_is_not_calibrated(market: Market, tmp_path: Path) -> None:
    """Both are asked about the same anchors, which nobody knows to be of a token that stops."""
    for rule in ("last", "exact"):
        prepare(market.folder, tmp_path / rule, replace(CONFIG, labels=rule))
    last = Dataset(tmp_path / "last")
    y_AH = np.concatenate([frozen_labels(last, name) for name in SLICES[1:]])
    batches = [batch for name in SLICES[1:] for batch in anchor_batches(last, last.frozen_anchors(name), 8)]
    error = {}
    for rule in ("last", "exact"):
        model = trained(Dataset(tmp_path / rule))
        p_AH = np.concatenate([predict_batch(model, batch, torch.device("cpu"), "fp32") for batch in batches])
        known = y_AH[:, -1] >= 0
        error[rule] = float((p_AH[known, -1] - y_AH[known, -1]).mean())
    assert abs(error["last"]) < 0.05, error
    assert error["exact"] > 0.1, error


def test_a_collection_ends_where_the_user_says(tmp_path: Path, write_series: WriteSeries) -> None:
    """Ten launches a day apart, each of which stops trading after 20 minutes."""
    rng = np.random.default_rng(0)
    for day in range(10):
        write_series(tmp_path / "raw" / f"{day}.csv", rng.lognormal(size=20), f"2025-01-{day + 1:02}")
    config = PrepareConfig(
        horizons=(2, 60), shares=Shares(0.4, 0.2, 0.2, 0.2), expanding_min=4, expanding_max=12, anchor_stride=4
    )
    known = prepare(tmp_path / "raw", tmp_path / "latest", config).slices["test"].known_labels
    until = replace(config, collected_until=pd.Timestamp("2025-01-10T06:00").to_pydatetime())
    longer = prepare(tmp_path / "raw", tmp_path / "later", until)
    # The last token's outcome is known when the collection went on after its last trade.
    assert (known, longer.slices["test"].known_labels) == ((6, 3), (6, 6))
    assert "collected until 2025-01-10 06:00 (as said)" in longer.summary()
    zoned = replace(config, collected_until=pd.Timestamp("2025-01-10T08:00+02:00").to_pydatetime())
    assert zoned.last_collected == until.last_collected
    early = replace(config, collected_until=pd.Timestamp("2025-01-09T23:59").to_pydatetime())
    with pytest.raises(InputError, match=r"collected-until is 2025-01-09T23:59, but .*9\.csv begins at 2025-01-10"):
        prepare(tmp_path / "raw", tmp_path / "early", early)


def test_an_anchor_has_so_many_observed_bars_before_it(tmp_path: Path, write_series: WriteSeries) -> None:
    """It counted minutes, so that two bars an hour apart were enough history."""
    rng = np.random.default_rng(0)
    for day in range(4):
        minutes = [0, 130, *range(131, 150)]
        times = [str(np.datetime64(f"2025-01-{day + 1:02}T00:00") + minute) for minute in minutes]
        write_series(tmp_path / "raw" / f"{day}.csv", rng.lognormal(size=len(minutes)), datetime=times)
    config = PrepareConfig(
        horizons=(2,), shares=Shares(0.25, 0.25, 0.25, 0.25), expanding_min=4, expanding_max=140, anchor_stride=1
    )
    info = prepare(tmp_path / "raw", tmp_path / "out", config)
    dataset = Dataset(tmp_path / "out")
    for name in SLICES[1:]:
        assert dataset.frozen_anchors(name).minute_A.tolist() == list(range(132, 140))
    assert "4 series begin with a bar that stands alone for hours" in "\n".join(info.summary())
