"""Synthetic launches with a hidden, known signal, and the best forecast anyone could make of them.

Legend: M tokens, T minutes, K anchors, H horizons, L volume levels,
Z = 24 dynamic states (fast x slow x kind x life).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data.document import new_folder
from data.schema import (
    DEFAULT_EXPANDING_MAX,
    DEFAULT_EXPANDING_MIN,
    DEFAULT_HORIZONS,
    PRICE_COLUMN,
    TIME_COLUMN,
    VOLUME_COLUMN,
    InputError,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NORMAL: Final = 0
DEAD: Final = 1
RUNAWAY: Final = 2
"""Values of life, the last factor of a dynamic state: life = state % 3."""

CATEGORIES: Final = {
    NORMAL: "normal_behavior_tokens",
    DEAD: "dead_tokens",
    RUNAWAY: "tokens_with_extremes",
}

FIRST_LAUNCH: Final = np.datetime64("2025-01-01T00:00", "m")
TOKENS_PER_CHUNK: Final = 128
"""Bounds memory: the filtered states of a chunk take about 90 MB, and it is a row group of oracle.parquet."""

FREQUENCIES_PER_E_FOLD: Final = 64


@dataclass(frozen=True)
class LaunchProcess:
    """A product hidden Markov model of one-minute bars; every rate and drift is per minute.

    The state at minute t drives the log return from t-1 to t and the log volume of bar t.
    """

    fast_dwell_minutes: float = 25.0
    slow_dwell_minutes: float = 150.0
    """Mean time between switches of the fast and the slow regime (two values each, symmetric)."""
    runaway_dwell_minutes: float = 90.0
    """Mean length of a runaway, after which life is normal again."""
    death_rate: float = 0.00006
    """Probability a minute that a normal token dies for good."""
    runaway_rate: float = 0.00012
    """Probability a minute that a normal token runs away."""
    dead_at_launch: float = 0.03
    """Probability that the token is dead from its first minute."""
    fast_drift: float = 0.0023
    slow_drift: float = 0.0025
    kind_drift: float = 0.0008
    """Mean log return of a living token is +- fast +- slow +- kind. A token's kind, sound or hollow, never changes."""
    runaway_drift: float = 0.02
    """Added to the mean log return while running away."""
    dead_drift: float = -0.0001
    normal_sigma: float = 0.02
    dead_sigma: float = 0.001
    runaway_sigma: float = 0.04
    """Standard deviation of the log return, by life."""

    volume_levels: tuple[float, ...] = (5.5, 7.0, 8.5, 10.0, 11.5)
    """Mean log volume of a token, equally likely, fixed for its life. They lie 2 `slow_volume` apart,
    so that an hour cannot tell a busy small token from a quiet big one: that evidence takes longer."""
    fast_volume: float = 0.5
    slow_volume: float = 0.75
    """Mean log volume of a living token is level +- fast +- slow."""
    kind_coupling: float = 0.12
    """Log volume that comes with a return one sigma above its mean: + for a sound token, whose buyers are the busy
    ones, - for a hollow one, whose sellers are. A bar hardly shows it: the evidence adds up from launch on."""
    runaway_volume: float = 1.5
    dead_volume: float = -4.0
    """Added to the level instead of, for the dead, or besides the regimes, for a runaway."""
    volume_sigma: float = 1.5
    """Standard deviation of the log volume."""

    @cached_property
    def transition(self) -> Floats:
        """Probability of the state at t+1 (column) given that at t (row), (Z, Z)."""
        ends = 1 / self.runaway_dwell_minutes
        life = np.array(
            [
                [1 - self.death_rate - self.runaway_rate, self.death_rate, self.runaway_rate],
                [0.0, 1.0, 0.0],
                [ends, 0.0, 1 - ends],
            ]
        )
        fast, slow = (_switch(1 / dwell) for dwell in (self.fast_dwell_minutes, self.slow_dwell_minutes))
        return _joint(fast, slow, np.eye(2), life)

    @cached_property
    def start(self) -> Floats:
        """Probability of the state at minute 0, (Z,): regimes at rest, either kind, life normal or dead."""
        even = np.array([0.5, 0.5])
        return _joint(even, even, even, np.array([1 - self.dead_at_launch, self.dead_at_launch, 0.0]))

    @cached_property
    def drift(self) -> Floats:
        """Mean log return in each state, (Z,)."""
        living = _signed(self.fast_drift, self.slow_drift, self.kind_drift)
        return _by_life(living, self.dead_drift, living + self.runaway_drift)

    @cached_property
    def sigma(self) -> Floats:
        """Standard deviation of the log return in each state, (Z,)."""
        return _by_life(self.normal_sigma, self.dead_sigma, self.runaway_sigma)

    @cached_property
    def coupling(self) -> Floats:
        """Log volume for each sigma of the return in each state, (Z,)."""
        living = _signed(0.0, 0.0, self.kind_coupling)
        return _by_life(living, 0.0, living)

    @cached_property
    def volume_shift(self) -> Floats:
        """Mean log volume less the token's level in each state, (Z,)."""
        living = _signed(self.fast_volume, self.slow_volume, 0.0)
        return _by_life(living, self.dead_volume, living + self.runaway_volume)


def _switch(rate: float) -> Floats:
    return np.array([[1 - rate, rate], [rate, 1 - rate]])


def _joint(fast: Floats, slow: Floats, kind: Floats, life: Floats) -> Floats:
    """The product of independent factors, in the order of the states."""
    return np.kron(np.kron(np.kron(fast, slow), kind), life).astype(np.float64)


def _signed(fast: float, slow: float, kind: float) -> Floats:
    """-+ fast -+ slow -+ kind for each state, (Z,)."""
    sign = np.array([-1.0, 1.0])
    return np.repeat(np.add.outer(np.add.outer(fast * sign, slow * sign), kind * sign).ravel(), 3)


def _by_life(normal: float | Floats, dead: float, runaway: float | Floats) -> Floats:
    """One value for each state, (Z,)."""
    life = np.arange(24) % 3
    return np.select([life == DEAD, life == RUNAWAY], [dead, runaway], normal)


@dataclass(frozen=True)
class Sample:
    """Drawn series; `log_return[:, 0]` is 0 and means nothing, as minute 0 has no return."""

    state: Ints
    """(M, T), hidden from everybody."""
    log_return: Floats
    """(M, T), natural log of price[t] / price[t-1]."""
    log_volume: Floats
    """(M, T), natural log."""
    log_start_price: Floats
    """(M,), natural log of price[0]."""


def sample(process: LaunchProcess, minutes: int, seeds: Sequence[np.random.SeedSequence]) -> Sample:
    """One series of `minutes` bars for each seed; a series depends on its own seed alone."""
    generators = [np.random.default_rng(seed) for seed in seeds]
    log_start_price = np.array([generator.uniform(np.log(1e-8), np.log(1e-2)) for generator in generators])
    level = np.array([generator.choice(process.volume_levels) for generator in generators])
    uniform = np.array([generator.random(minutes) for generator in generators])
    noise = np.array([generator.standard_normal((2, minutes)) for generator in generators])

    state = np.empty((len(seeds), minutes), dtype=np.int64)
    start, transition = np.cumsum(process.start), np.cumsum(process.transition, axis=1)
    start[-1] = transition[:, -1] = 1.0  # a sum of 1 - 1e-16 must not let a uniform fall off the end
    state[:, 0] = np.searchsorted(start, uniform[:, 0], side="right")
    for t in range(1, minutes):
        state[:, t] = (transition[state[:, t - 1]] <= uniform[:, t, None]).sum(axis=1)

    noise[:, 0, 0] = 0.0  # minute 0 has no return
    log_return = process.drift[state] + process.sigma[state] * noise[:, 0]
    log_return[:, 0] = 0.0
    log_volume = level[:, None] + process.volume_shift[state] + process.coupling[state] * noise[:, 0]
    log_volume += process.volume_sigma * noise[:, 1]
    return Sample(state, log_return, log_volume, log_start_price)


def filter_states(process: LaunchProcess, log_return: Floats, log_volume: Floats) -> Floats:
    """P(dynamic state at t | bars 0..t), (M, T, Z), from series of shape (M, T).

    The forward recursion of Rabiner (1989), equations 19 and 20, normalised every minute (Hamilton 1989);
    the volume level never changes, so it splits the joint state into L independent blocks and is summed out.
    `log_return[:, 0]` is not read.
    """
    tokens, minutes = log_volume.shape
    levels = np.array(process.volume_levels)
    volume_mean = levels[:, None] + process.volume_shift
    log_sigma = np.log(process.sigma)
    posterior = np.empty((tokens, minutes, len(process.drift)))
    belief = np.broadcast_to(process.start / len(levels), (tokens, *volume_mean.shape))
    for t in range(minutes):
        # Without a return, as at minute 0, volume alone speaks.
        z = (log_return[:, t, None] - process.drift) / process.sigma if t > 0 else np.zeros((tokens, len(log_sigma)))
        score = (log_volume[:, t, None, None] - volume_mean - (process.coupling * z)[:, None, :]) / process.volume_sigma
        score *= score
        score *= -0.5
        if t > 0:
            score -= (0.5 * z * z + log_sigma)[:, None, :]
            belief = (belief.reshape(-1, belief.shape[2]) @ process.transition).reshape(belief.shape)
        with np.errstate(divide="ignore"):  # the log of an impossible state is -inf, as it should be
            score += np.log(belief)
        score -= score.max(axis=(1, 2), keepdims=True)
        belief = np.exp(score)
        belief /= belief.sum(axis=(1, 2), keepdims=True)
        posterior[:, t] = belief.sum(axis=1)
    return posterior


def probability_up(process: LaunchProcess, horizons: Sequence[int]) -> Floats:
    """P(sum of the next h log returns > 0 | dynamic state now), (H, Z), exact to about 1e-8.

    Gil-Pelaez (1951): P(S > 0) = 1/2 + 1/pi * integral over u > 0 of Im phi(u) / u, where the characteristic
    function of S is phi_h(u) = (P D(u))^h 1 with D(u) = diag(exp(i mu u - sigma^2 u^2 / 2)). With u = e^v the
    integrand is Im phi(e^v), which the trapezoidal rule integrates with an error that falls exponentially.
    """
    most = max(horizons)
    # Below the first frequency the integral is at most u * |E S|; beyond the last, |phi| < exp(-9^2 / 2).
    lowest = 1e-9 / (most * np.abs(process.drift).max() + process.sigma.max())
    highest = 9.0 / process.sigma.min()
    steps = int(np.ceil(np.log(highest / lowest) * FREQUENCIES_PER_E_FOLD)) + 1
    v, step = np.linspace(np.log(lowest), np.log(highest), steps, retstep=True)
    u = np.exp(v)
    one_minute = np.exp(1j * process.drift[:, None] * u - 0.5 * (process.sigma[:, None] * u) ** 2)
    transition = process.transition.astype(np.complex128)
    phi = np.ones_like(one_minute)
    up = np.empty((len(horizons), len(process.drift)))
    for minute in range(1, most + 1):
        phi = transition @ (one_minute * phi)
        for row in (row for row, horizon in enumerate(horizons) if horizon == minute):
            up[row] = 0.5 + phi.imag.sum(axis=1) * step / np.pi
    return np.clip(up, 0.0, 1.0)


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
