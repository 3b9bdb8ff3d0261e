"""A sampler that learns from the latest value of every trial, whether that has ended, waits or trains (Salinas et al.
2023, "Optimizing Hyperparameters with Conformal Quantile Regression", section 4), with a Gaussian process, and with a
prior at the default configuration (Mallik et al. 2023, "PriorBand").
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import chain
from math import isclose
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from hybridtune.search.study.coordinates import Coordinates, Points
from hybridtune.search.study.distributions import distribution
from hybridtune.search.study.gaussian_process import GaussianProcess, fitted_kernel
from hybridtune.spaces.draws import near
from hybridtune.spaces.parameters import Config, Scalar, Space

NEAR_DEFAULT, NEAR_DEFAULT_EARLY = 0.2, 0.33
"""Share of the draws near the default; early: until EARLY trials are known."""
EARLY = 30
BLIND = 0.1
"""Share of the draws at random."""
FEWEST = 20
"""Known trials before which a model is not asked."""
KEPT_BEST, KEPT_ANY = 150, 70
"""Of more known trials than that, the best and some others: a model's cost grows with the cube of their number."""
FITTED_TO = 64
"""Known trials by which the kernel is chosen."""
RANDOM_CANDIDATES, LOCAL_CANDIDATES, LOCAL_CENTRES = 500, 100, 5
LOCAL_SHARE, LOCAL_WIDTH = 0.3, 0.1
DRAWS = 20
"""After how many a configuration that was begun before is drawn again."""
SAME = 1e-9
"""Two numbers that differ by no larger a share of them are one, but for what rounding leaves."""


@dataclass(frozen=True)
class Known:
    """What is known of a study. N trials with a value, L that train and have none yet."""

    params_N: tuple[Config, ...]
    loss_N: NDArray[np.float64]
    """The latest value of each, to be small; infinite for a failed one."""
    live_L: tuple[Config, ...]

    def begun(self, config: Config, names: Collection[str]) -> bool:
        """Whether a trial has this configuration, in the dimensions of these names."""
        return any(
            all(_same(other[name], config[name]) for name in names) for other in chain(self.params_N, self.live_L)
        )


class LatestSampler(BaseSampler):
    def __init__(self, space: Space | None, seed: int) -> None:
        """space: that of the study, with its default; None: what all of its trials have, without a default."""
        self._space = space
        self._rng = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)

    def reseed_rng(self) -> None:
        self._rng = np.random.default_rng()
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        if self._space is None:
            shared = IntersectionSearchSpace().calculate(study)
        else:
            shared = {name: distribution(dimension) for name, dimension in self._space.dimensions.items()}
        return {name: known for name, known in shared.items() if not known.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._raise_error_if_multi_objective(study)
        if not search_space:
            return {}
        known = known_of(study, trial.number, search_space, self._defaults())
        at = self._rng.random()
        near_default = 0.0 if self._space is None else self.near_default(len(known.params_N))
        if at < near_default:
            space = self._space
            assert space is not None
            return self._not_begun(known, search_space, lambda: near(space, space.default(), self._rng))
        coordinates = Coordinates(search_space)
        if at < near_default + BLIND or len(known.params_N) < FEWEST:
            return self._not_begun(known, search_space, lambda: coordinates.config(coordinates.random(1, self._rng)[0]))
        return dict(self._most_promising(known, coordinates))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        self._raise_error_if_multi_objective(study)
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def candidates(self, coordinates: Coordinates, best_first: Points) -> Points:
        """Points among which the most promising one is drawn. best_first: those of the known trials."""
        centres = np.resize(best_first[:LOCAL_CENTRES], (LOCAL_CANDIDATES, best_first.shape[1]))
        return np.vstack(
            [
                coordinates.random(RANDOM_CANDIDATES, self._rng),
                coordinates.neighbours(centres, LOCAL_SHARE, LOCAL_WIDTH, self._rng),
            ]
        )

    def near_default(self, known: int) -> float:
        """Share of the draws near the default, once so many trials are known."""
        return NEAR_DEFAULT if known >= EARLY else NEAR_DEFAULT_EARLY

    def _not_begun(self, known: Known, names: Collection[str], draw: Callable[[], Config]) -> dict[str, Any]:
        """A configuration that no trial has in these dimensions, unless a few draws find none."""
        for _ in range(DRAWS):
            drawn = draw()
            if not known.begun({**self._defaults(), **drawn}, names):
                break
        return dict(drawn)

    def _defaults(self) -> Config:
        """Of all dimensions: where a configuration lacks one, the model sees it here."""
        if self._space is None:
            return {}
        dimensions = self._space.dimensions.items()
        return {name: dimension.nearest(self._space.reference[name]) for name, dimension in dimensions}

    def _most_promising(self, known: Known, coordinates: Coordinates) -> Config:
        order = np.argsort(known.loss_N, kind="stable")
        if len(order) > KEPT_BEST + KEPT_ANY:
            others = np.sort(self._rng.choice(len(order) - KEPT_BEST, KEPT_ANY, replace=False)) + KEPT_BEST
            order = np.concatenate([order[:KEPT_BEST], order[others]])
        best_first = coordinates.points([known.params_N[place] for place in order])
        scores_N = normal_scores(known.loss_N[order])
        some = np.unique(np.linspace(0, len(order) - 1, FITTED_TO).astype(int))
        kernel = fitted_kernel(best_first[some], scores_N[some], list(coordinates.columns.values()))
        model = GaussianProcess(best_first, scores_N, kernel)
        candidates = self.candidates(coordinates, best_first)
        lowest = model.predict(best_first[:LOCAL_CENTRES])[0].min()
        gain = expected_improvement(*model.predict(candidates), lowest)
        live_LC = coordinates.points(known.live_L)
        # What is under way will tell of its neighbourhood.
        gain *= (1 - kernel.between(candidates, live_LC)).prod(axis=1)
        best_gain_first = candidates[np.argsort(-gain, kind="stable")]
        # To the model a value has noise, but the same configuration is trained with the same seed.
        configs = map(coordinates.config, best_gain_first)
        new = (config for config in configs if not known.begun(config, coordinates.axes))
        return next(new, coordinates.config(best_gain_first[0]))


def known_of(study: optuna.Study, before: int, names: Collection[str], defaults: Config) -> Known:
    """In these dimensions at least. before: the number of the trial that is drawn. defaults: of what a configuration
    lacks; a trial that lacks anything else is left out.
    """
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    params: list[Config] = []
    losses: list[float] = []
    live: list[Config] = []
    wanted = frozenset(names)
    for trial in study.get_trials(deepcopy=False):
        # Most have all: to make each anew would be much of a draw's cost.
        config = trial.params if trial.params.keys() >= wanted else {**defaults, **trial.params}
        if trial.state == TrialState.WAITING or trial.number == before or not config.keys() >= wanted:
            continue
        value = latest_value(trial)
        if value is None and trial.state == TrialState.RUNNING:
            live.append(config)
        else:
            params.append(config)
            losses.append(np.inf if value is None else sign * value)
    return Known(tuple(params), np.array(losses), tuple(live))


def _same(one: Scalar, other: Scalar) -> bool:
    return one == other or (isinstance(one, float) and isinstance(other, float) and isclose(one, other, rel_tol=SAME))


def latest_value(trial: FrozenTrial) -> float | None:
    """None where there is none, or where the trial failed."""
    if trial.state == TrialState.FAIL:
        return None
    if trial.state == TrialState.COMPLETE:
        return trial.value
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None


def normal_scores(loss_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values that a normal sample of this size has at these ranks: how far apart losses are says little, and failed
    ones have none.
    """
    return np.asarray(ndtri((rankdata(loss_N) - 0.5) / len(loss_N)))


def expected_improvement(
    mean: NDArray[np.float64], deviation: NDArray[np.float64], lowest: float
) -> NDArray[np.float64]:
    """Below the lowest value (Jones et al. 1998, equation 15)."""
    scaled = (lowest - mean) / deviation
    density = np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi)
    return np.asarray((lowest - mean) * ndtr(scaled) + deviation * density)
