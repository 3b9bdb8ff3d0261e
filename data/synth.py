"""Launches with a hidden, known signal as files, with the oracle's forecast of them beside.

Legend: M tokens, T minutes, K anchors, H horizons.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hybridtune.data.document import new_folder
from hybridtune.data.launch_process import (
    DEAD,
    NORMAL,
    RUNAWAY,
    Floats,
    LaunchProcess,
    Sample,
    filter_states,
    probability_up,
    sample,
)
from hybridtune.data.schema import (
    DEFAULT_EXPANDING_MAX,
    DEFAULT_EXPANDING_MIN,
    DEFAULT_HORIZONS,
    PRICE_COLUMN,
    TIME_COLUMN,
    VOLUME_COLUMN,
    InputError,
)

CATEGORIES: Final = {
    NORMAL: "normal_behavior_tokens",
    DEAD: "dead_tokens",
    RUNAWAY: "tokens_with_extremes",
}

FIRST_LAUNCH: Final = np.datetime64("2025-01-01T00:00", "m")
TOKENS_PER_CHUNK: Final = 128
"""Bounds memory: the filtered states of a chunk take about 180 MB, and it is a row group of oracle.parquet."""


@dataclass(frozen=True)
class SynthConfig:
    """How much to generate; what is generated is `LaunchProcess()`."""

    tokens: int = 300
    minutes: int = 1440
    """Bars a token, the first at its launch."""
    seed: int = 0
    spacing_minutes: float = 360.0
    """Mean time between launches, whatever their number."""
    horizons: tuple[int, ...] = DEFAULT_HORIZONS
    """Minutes ahead for which oracle.parquet has a probability."""
    expanding_min: int = DEFAULT_EXPANDING_MIN
    expanding_max: int = DEFAULT_EXPANDING_MAX
    """Fewest and most bars before an anchor of oracle.parquet."""

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InputError(f"tokens must be at least 1, got {self.tokens}: ask for one or more")
        if self.seed < 0:
            raise InputError(f"seed must be at least 0, got {self.seed}: use a whole number from 0")
        if not 0 < self.spacing_minutes < float("inf"):
            raise InputError(f"spacing_minutes must be positive and finite, got {self.spacing_minutes}: use e.g. 150")
        if not self.horizons or min(self.horizons) < 1 or len(set(self.horizons)) < len(self.horizons):
            raise InputError(f"horizons must be distinct whole minutes from 1, got {self.horizons}: use e.g. (15, 60)")
        if not 1 <= self.expanding_min <= self.expanding_max:
            raise InputError(
                f"1 <= expanding_min <= expanding_max must hold, got expanding_min={self.expanding_min}, "
                f"expanding_max={self.expanding_max}: change one of them"
            )
        needed = self.expanding_min + min(self.horizons)
        if self.minutes < needed:
            raise InputError(
                f"minutes must be at least expanding_min + the shortest horizon = {needed}, "
                f"got {self.minutes}: ask for longer series"
            )


def generate(config: SynthConfig, out: Path, progress: Callable[[int], None] = lambda _: None) -> None:
    """Writes `out`/launches/<category>/<token>.parquet and `out`/oracle.parquet, or nothing at all.

    `progress` is called with the number of tokens done so far. The values of token i depend on the seed, i,
    `minutes` and `spacing_minutes`, not on the number of tokens. Raises InputError if `out` exists.
    """
    process = LaunchProcess()
    up = probability_up(process, config.horizons)
    launches = _launch_times(config)
    # A seed's n-th child is the same however many there are; child 0 is for the launch times.
    seeds = np.random.SeedSequence(config.seed).spawn(config.tokens + 1)[1:]
    schema = _oracle_schema(config.horizons)
    with new_folder(out) as folder:
        for category in CATEGORIES.values():
            (folder / "launches" / category).mkdir(parents=True)
        with pq.ParquetWriter(folder / "oracle.parquet", schema) as oracle:
            for first in range(0, config.tokens, TOKENS_PER_CHUNK):
                tokens = range(first, min(first + TOKENS_PER_CHUNK, config.tokens))
                names = [f"token_{token:05d}" for token in tokens]
                drawn = sample(process, config.minutes, [seeds[token] for token in tokens])
                oracle.write_table(_oracle_rows(config, process, up, names, drawn))
                for row, token in enumerate(tokens):
                    _write_launch(folder / "launches", names[row], launches[token], drawn, row)
                    progress(token + 1)


def _launch_times(config: SynthConfig) -> npt.NDArray[np.datetime64]:
    """A Poisson process rounded down to whole minutes, (M,)."""
    generator = np.random.default_rng(np.random.SeedSequence(config.seed).spawn(1)[0])
    gaps = generator.exponential(config.spacing_minutes, config.tokens)
    return FIRST_LAUNCH + np.floor(np.cumsum(gaps)).astype("timedelta64[m]")


def _write_launch(folder: Path, name: str, launch: np.datetime64, drawn: Sample, row: int) -> None:
    """A token that ran away and died later counts as dead."""
    minutes = drawn.state.shape[1]
    lives = drawn.state[row] % 3
    category = CATEGORIES[next((life for life in (DEAD, RUNAWAY) if life in lives), NORMAL)]
    table = pa.table(
        {
            TIME_COLUMN: (launch + np.arange(minutes)).astype("datetime64[us]"),
            PRICE_COLUMN: np.exp(drawn.log_start_price[row] + np.cumsum(drawn.log_return[row])),
            VOLUME_COLUMN: np.exp(drawn.log_volume[row]),
        }
    )
    pq.write_table(table, folder / category / f"{name}.parquet")


def _oracle_schema(horizons: Sequence[int]) -> pa.Schema:
    probabilities = [(f"p_{horizon}", pa.float32()) for horizon in horizons]
    return pa.schema([("series", pa.string()), ("minute", pa.int32()), *probabilities])


def _oracle_rows(
    config: SynthConfig, process: LaunchProcess, up: Floats, names: Sequence[str], drawn: Sample
) -> pa.Table:
    """P(price[t+h] > price[t] | bars 0..t) for every token and anchor t, a row each."""
    end = min(config.minutes, config.expanding_max)
    anchors = np.arange(config.expanding_min - 1, end, dtype=np.int32)
    states = filter_states(process, drawn.log_return[:, :end], drawn.log_volume[:, :end])
    probability = (states[:, anchors] @ up.T).astype(np.float32)
    columns = {f"p_{horizon}": probability[:, :, i].ravel() for i, horizon in enumerate(config.horizons)}
    series = np.repeat(np.array(names, dtype=object), len(anchors))
    schema = _oracle_schema(config.horizons)
    return pa.table({"series": series, "minute": np.tile(anchors, len(names)), **columns}, schema=schema)
