"""The process that generates launches, and the best forecast anyone could make of them: mathematics only.

Legend: M tokens, T minutes, H horizons, L volume levels, Z = 24 dynamic states (fast x slow x kind x life).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NORMAL: Final = 0
DEAD: Final = 1
RUNAWAY: Final = 2
"""Values of life, the last factor of a dynamic state: life = state % 3."""

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
