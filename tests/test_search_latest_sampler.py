"""The sampler on latest values: Optuna's own test cases, what it learns from, where it draws; its Gaussian process."""

from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase
from optuna.trial import TrialState, create_trial
from scipy.optimize import check_grad
from scipy.spatial.distance import pdist
from scipy.stats import multivariate_normal, norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from hybridtune.search.study import gaussian_process
from hybridtune.search.study.coordinates import Coordinates
from hybridtune.search.study.distributions import distribution
from hybridtune.search.study.gaussian_process import GaussianProcess, Kernel, fitted_kernel
from hybridtune.search.study.latest_sampler import FEWEST, LatestSampler, expected_improvement, known_of, normal_scores
from hybridtune.spaces.load import SHIPPED
from hybridtune.spaces.parameters import Choice, Config, Float, Int, Space

SPACE = Space(
    "small",
    {
        "rate": Float(low=1e-4, high=1e-2, log=True),
        "size": Int(low=16, high=64, step=16),
        "kind": Choice(choices=("plain", "deep")),
        "depth": Int(low=1, high=4, when={"kind": ("deep",)}),
    },
    {"rate": 1e-3, "size": 32, "kind": "plain", "depth": 2},
)


class TestAsOptunaTestsItsOwn(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: LatestSampler(None, seed=0)


def loss(params: Config) -> float:
    """Lowest at a rate of 3e-3 and a size of 48."""
    return (np.log10(float(params["rate"])) + 2.5) ** 2 + (float(params["size"]) / 64 - 0.75) ** 2


def study_of(
    configurations: list[Config], values: list[float], state: TrialState = TrialState.COMPLETE
) -> optuna.Study:
    study = optuna.create_study()
    for params, value in zip(configurations, values, strict=True):
        known = {name: distribution(SPACE.dimensions[name]) for name in params}
        curve = {1: value + 1, 3: value}
        ended = value if state == TrialState.COMPLETE else None
        study.add_trial(
            create_trial(state=state, value=ended, params=params, distributions=known, intermediate_values=curve)
        )
    return study


def some(count: int, seed: int = 0) -> list[Config]:
    rng = np.random.default_rng(seed)
    sizes = (16, 32, 48, 64)
    return [{"rate": 10 ** rng.uniform(-4, -2), "size": int(rng.choice(sizes)), "kind": "plain"} for _ in range(count)]


def drawn(study: optuna.Study, seed: int) -> Config:
    study.sampler = LatestSampler(SPACE, seed)
    trial = study.ask()
    for name, dimension in SPACE.dimensions.items():
        if SPACE.active(name, trial.params):
            trial._suggest(name, distribution(dimension))
    return dict(trial.params)


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.RUNNING, TrialState.PRUNED])
def test_most_draws_are_good_ones_whatever_the_state_of_the_known_trials(state: TrialState) -> None:
    configurations = some(40)
    study = study_of(configurations, [loss(params) for params in configurations], state)
    found = [loss(drawn(study, seed)) for seed in range(20)]
    # Of random ones some 4% are as good.
    assert sum(value < 0.05 for value in found) >= 6


def test_the_latest_value_counts_and_a_failed_trial_is_the_worst() -> None:
    study = study_of(some(3), [0.3, 0.2, 0.1], TrialState.RUNNING)
    study.tell(study.ask(), state=TrialState.FAIL)
    (params,) = some(1, seed=1)
    failed = {name: distribution(SPACE.dimensions[name]) for name in params}
    study.add_trial(
        create_trial(state=TrialState.FAIL, params=params, distributions=failed, intermediate_values={1: 0.0})
    )
    study.enqueue_trial(params)
    live = study.ask()
    for name in params:
        live._suggest(name, failed[name])
    known = known_of(study, 99, ["rate", "size"], {})
    assert known.loss_N.tolist() == [0.3, 0.2, 0.1, np.inf]
    assert known.live_L == (params,)
    assert known_of(study, live.number, ["rate"], {}).live_L == ()


def test_what_a_configuration_lacks_is_at_its_default() -> None:
    known = known_of(study_of(some(2), [0.1, 0.2]), 99, list(SPACE.dimensions), {"depth": 2})
    assert [params["depth"] for params in known.params_N] == [2, 2]
    assert known_of(study_of(some(2), [0.1, 0.2]), 99, list(SPACE.dimensions), {}).params_N == ()


def test_a_third_of_the_first_draws_is_near_the_default_and_each_is_in_the_space() -> None:
    near = 0
    for seed in range(300):
        params = drawn(study_of([], []), seed)
        SPACE.check_inside(params)
        near += abs(np.log10(float(params["rate"])) + 3) < 1e-9
    # Near ones keep each value with probability one half; none of the random ones has just that rate.
    assert 300 * 0.33 * 0.5 * 0.6 < near < 300 * 0.33 * 0.5 * 1.4


def test_the_same_seed_draws_the_same_and_live_trials_are_kept_clear_of() -> None:
    configurations = some(FEWEST + 20)
    values = [loss(params) for params in configurations]
    seed = next(s for s in range(50) if np.random.default_rng(s).random() > 0.3)
    alone = drawn(study_of(configurations, values), seed)
    assert drawn(study_of(configurations, values), seed) == alone
    crowded = study_of(configurations, values)
    for _ in range(5):
        crowded.enqueue_trial(alone)
        live = crowded.ask()
        for name in alone:
            live._suggest(name, distribution(SPACE.dimensions[name]))
    assert drawn(crowded, seed) != alone


def test_the_model_draws_no_configuration_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the best lies in a corner of the space, half of its neighbours are itself."""
    monkeypatch.setattr(LatestSampler, "near_default", lambda self, known: 0.0)
    space = Space("plain", {name: SPACE.dimensions[name] for name in ("rate", "size")}, {"rate": 1e-3, "size": 32})
    known = {name: distribution(dimension) for name, dimension in space.dimensions.items()}
    corner: Config = {"rate": 1e-2, "size": 64}
    configurations = [corner, *({name: params[name] for name in known} for params in some(40))]
    study = study_of(
        configurations, [-np.log10(float(params["rate"])) - float(params["size"]) / 64 for params in configurations]
    )
    trial = study.ask()._get_latest_trial()
    draws = [LatestSampler(space, seed).sample_relative(study, trial, known) for seed in range(20)]
    assert corner not in draws


def test_draws_near_the_default_repeat_no_trial() -> None:
    """In two dimensions a quarter of them moves nothing: the default was trained six times in a hundred trials."""
    space = Space("plain", {name: SPACE.dimensions[name] for name in ("rate", "size")}, {"rate": 1e-3, "size": 32})
    known = {name: distribution(dimension) for name, dimension in space.dimensions.items()}
    study = study_of([{"rate": 1e-3, "size": 32}], [0.1])
    trial = study.ask()._get_latest_trial()
    draws = [LatestSampler(space, seed).sample_relative(study, trial, known) for seed in range(100)]
    assert space.default() not in draws
    assert any(draw["rate"] == pytest.approx(1e-3) for draw in draws)


def test_a_space_of_a_single_point_gives_that_point() -> None:
    point = Space(
        "point", {"kind": Choice(choices=("plain",)), "size": Int(low=8, high=8)}, {"kind": "plain", "size": 8}
    )
    study = optuna.create_study(sampler=LatestSampler(point, 0))
    trial = study.ask({name: distribution(dimension) for name, dimension in point.dimensions.items()})
    assert trial.params == point.default()


@pytest.mark.parametrize("name", SHIPPED)
def test_draws_of_the_shipped_spaces_are_inside(name: str) -> None:
    space = SHIPPED[name]
    study = optuna.create_study()
    for seed in range(40):
        study.sampler = LatestSampler(space, seed)
        trial = study.ask()
        for key, dimension in space.dimensions.items():
            if space.active(key, trial.params):
                trial._suggest(key, distribution(dimension))
        space.check_inside(dict(trial.params))
        trial.report(float(np.random.default_rng(seed).random()), 1)


@pytest.mark.parametrize(
    "known",
    [
        FloatDistribution(-1.0, 3.0),
        FloatDistribution(1e-5, 1.0, log=True),
        FloatDistribution(0.0, 1.0, step=0.25),
        IntDistribution(1, 9, step=2),
        IntDistribution(1, 100, log=True),
        CategoricalDistribution(("a", 2, 0.5)),
    ],
)
def test_a_value_is_the_closest_to_its_own_point(known: BaseDistribution) -> None:
    at = Coordinates({"x": known})
    rng = np.random.default_rng(0)
    for point in at.neighbours(at.random(50, rng), 0.5, 0.5, rng):
        value = at.config(point)["x"]
        assert known._contains(known.to_internal_repr(value))
        again = at.config(at.points([{"x": value}])[0])["x"]
        assert again == pytest.approx(value) if isinstance(value, float) else again == value


@pytest.mark.parametrize("known", [IntDistribution(1, 4), FloatDistribution(0.0, 0.75, step=0.25)])
def test_random_points_have_every_step_as_often(known: BaseDistribution) -> None:
    """Those at the ends of a range had half the share of the others."""
    at = Coordinates({"x": known})
    values = [at.config(point)["x"] for point in at.random(4000, np.random.default_rng(0))]
    counts = np.unique(values, return_counts=True)[1]
    assert len(counts) == 4
    # Five standard deviations.
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(750)


def test_the_process_predicts_as_scikit_learns_does() -> None:
    rng = np.random.default_rng(0)
    x, z, y = rng.random((30, 3)), rng.random((7, 3)), rng.standard_normal(30)
    lengths = np.array([0.5, 1.0, 3.0])
    mean, deviation = GaussianProcess(x, y, Kernel(lengths, 0.1)).predict(z)
    reference = GaussianProcessRegressor(Matern(lengths, nu=2.5), alpha=0.1 + gaussian_process.JITTER, optimizer=None)
    expected_mean, expected_deviation = reference.fit(x, y).predict(z, return_std=True)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-9)
    np.testing.assert_allclose(deviation, expected_deviation, atol=1e-9)


def test_the_loss_is_the_negative_log_posterior_and_the_gradient_is_its() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((25, 4)), rng.standard_normal(25)
    squared = np.stack([pdist(x[:, each], "sqeuclidean") for each in np.s_[0:1, 1:3, 3:4]])
    logs = np.array([0.2, 0.9, 1.4, -1.5])

    def value(logs: np.ndarray) -> float:
        return gaussian_process._loss_and_gradient(logs, squared, y, np.triu_indices(25, 1), 1.5)[0]

    def gradient(logs: np.ndarray) -> np.ndarray:
        return gaussian_process._loss_and_gradient(logs, squared, y, np.triu_indices(25, 1), 1.5)[1]

    covariance = Matern(np.exp(logs[[0, 1, 1, 2]]), nu=2.5)(x) + np.exp(-1.5) * np.eye(25)
    prior = norm(1.5, 3**0.5).logpdf(logs[:3]).sum() + norm(np.log(0.1), 1).logpdf(-1.5)
    constant = 12.5 * np.log(2 * np.pi) - 3 * norm(0, 3**0.5).logpdf(0) - norm.logpdf(0)
    expected = -multivariate_normal(cov=covariance).logpdf(y) - prior - constant
    assert value(logs) == pytest.approx(expected, rel=1e-6)
    assert check_grad(value, gradient, logs) < 1e-4


def test_the_fitted_kernel_tells_what_matters_from_what_does_not() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((60, 2))
    y = np.sin(6 * x[:, 0])
    kernel = fitted_kernel(x, (y - y.mean()) / y.std(), [slice(0, 1), slice(1, 2)])
    assert kernel.length_C[0] * 4 < kernel.length_C[1]
    assert kernel.noise < 0.01


def test_improvement_is_the_mean_of_what_a_normal_value_lies_below() -> None:
    rng = np.random.default_rng(0)
    drawn_values = rng.normal(0.3, 0.5, 400_000)
    sampled = np.clip(0.1 - drawn_values, 0, None).mean()
    assert expected_improvement(np.array([0.3]), np.array([0.5]), 0.1)[0] == pytest.approx(sampled, abs=2e-3)


def test_scores_rank_and_the_failed_ones_are_the_worst_together() -> None:
    scores = normal_scores(np.array([0.3, np.inf, 0.1, np.inf]))
    assert scores[2] < scores[0] < scores[1] == scores[3]
