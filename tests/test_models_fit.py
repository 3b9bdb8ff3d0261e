"""Training: repeatable bit for bit, stoppable between any two iterations, and it learns."""

import copy
import dataclasses
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hybridtune.data.batches import TrainingStream, anchor_batches, frozen_labels, labels_at
from hybridtune.data.sample import spread
from hybridtune.data.schema import InputError
from hybridtune.data.store import Dataset
from hybridtune.models.architectures.registry import ARCHITECTURES, build_model, model_config
from hybridtune.models.architectures.scaler import train_bars
from hybridtune.models.inference import forward
from hybridtune.models.loss_and_auc import loss_and_auc
from hybridtune.models.metrics import all_metrics, mean_auc, mean_log_loss
from hybridtune.models.training.config import Metric, TrainConfig
from hybridtune.models.training.fit import NonFiniteLossError, Training, predict_anchors, predict_slice
from hybridtune.models.training.optimizer import Schedule, rate_share
from hybridtune.models.training.progress import Progress

CPU = torch.device("cpu")
QUICK = TrainConfig(learning_rate=3e-3, batch_size=32, iterations=4, samples_per_iteration=160, patience=99)
"""160 anchors are ten visits of the 13 train series: an iteration ends within an epoch."""

OWN: dict[str, dict[str, Any]] = {
    "hybrid_lstm": {"windows": (5, 15), "attention_heads": 2, "layers": 2},
    "basic_lstm": {"window": 15, "layers": 2},
    "transformer": {"attention_heads": 2, "positions": "learned"},
    "tcn": {"levels": 3},
}

Weights = dict[str, Tensor]


def training(
    dataset: Dataset,
    config: TrainConfig = QUICK,
    seed: int = 0,
    architecture: str = "hybrid_lstm",
    rungs: tuple[int, ...] = (),
) -> Training:
    sizes: dict[str, Any] = {"hidden_size": 16, "dropout": 0.3}
    shape = {"input_size": len(dataset.info.features), "horizons": len(dataset.info.horizons)}
    model = build_model(model_config(architecture, sizes | OWN[architecture] | shape), seed)
    model.scaling.fit(train_bars(dataset))
    return Training(model, dataset, config, seed, CPU, "fp32", rungs)


def run(started: Training) -> Training:
    while not started.finished:
        started.run_iteration()
    return started


def same(one: Weights, other: Weights) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def without_time(history: list[Progress]) -> list[Progress]:
    return [dataclasses.replace(progress, seconds=0.0) for progress in history]


@pytest.fixture(scope="module")
def finished(dataset: Dataset) -> Training:
    return run(training(dataset))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_seed_gives_the_same_weights_bit_for_bit_whatever_torchs_generator(
    dataset: Dataset, architecture: str
) -> None:
    short = dataclasses.replace(QUICK, iterations=2)
    first = run(training(dataset, short, architecture=architecture))
    torch.manual_seed(123)
    again = run(training(dataset, short, architecture=architecture))
    assert same(again.model.state_dict(), first.model.state_dict())
    assert without_time(again.history) == without_time(first.history)
    other = run(training(dataset, short, seed=1, architecture=architecture))
    assert not same(other.model.state_dict(), first.model.state_dict())


def test_torchs_generator_is_left_untouched(dataset: Dataset) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    training(dataset).run_iteration()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4])
def test_a_training_stopped_at_any_iteration_ends_like_one_never_stopped(
    dataset: Dataset, finished: Training, stop: int
) -> None:
    started = training(dataset)
    for _ in range(stop):
        started.run_iteration()
    file = io.BytesIO()
    torch.save(started.state(), file)
    file.seek(0)
    resumed = training(dataset, seed=0)
    torch.nn.init.normal_(next(resumed.model.parameters()))
    resumed.load_state(torch.load(file, weights_only=True))
    assert resumed.iteration == stop
    run(resumed)
    assert same(resumed.model.state_dict(), finished.model.state_dict())
    assert same(resumed.best_weights(), finished.best_weights())
    assert without_time(resumed.history) == without_time(finished.history)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("changes", [{"schedule": "plateau"}, {"loss": "focal", "class_weights": "auto"}])
def test_every_architecture_and_loss_resumes_bit_for_bit(
    dataset: Dataset, architecture: str, changes: dict[str, Any]
) -> None:
    """With a rate so high that the objective stands still and the plateau schedule has something to do."""
    config = dataclasses.replace(QUICK, iterations=6, learning_rate=3e-2, **changes)
    whole = run(training(dataset, config, architecture=architecture))
    started = training(dataset, config, architecture=architecture)
    for _ in range(4):
        started.run_iteration()
    file = io.BytesIO()
    torch.save(started.state(), file)
    file.seek(0)
    resumed = training(dataset, config, architecture=architecture)
    resumed.load_state(torch.load(file, weights_only=True))
    run(resumed)
    assert same(resumed.model.state_dict(), whole.model.state_dict())
    assert without_time(resumed.history) == without_time(whole.history)


def test_an_iteration_is_a_number_of_anchors_whatever_the_batch_size(dataset: Dataset) -> None:
    for batch_size in (7, 64, 1000):
        started = training(dataset, dataclasses.replace(QUICK, batch_size=batch_size), architecture="basic_lstm")
        assert [started.run_iteration().samples for _ in range(2)] == [160, 320]
        never_split = TrainingStream(dataset, 0, QUICK.anchors_per_series)
        for _ in range(2):
            for first in range(0, 160, batch_size):
                never_split.take(min(batch_size, 160 - first))
        assert started.state()["position"] == never_split.position


def test_patience_ends_a_training_that_no_longer_improves(dataset: Dataset) -> None:
    still = dataclasses.replace(QUICK, learning_rate=1e-30, patience=2, iterations=9, metric="tune_auc")
    started = run(training(dataset, still))
    assert started.iteration == 3
    assert len({progress.objective for progress in started.history}) == 1


@pytest.mark.parametrize("metric", ["tune_loss", "tune_auc"])
def test_the_weights_kept_are_those_of_the_best_iteration(dataset: Dataset, metric: Metric) -> None:
    rough = dataclasses.replace(QUICK, learning_rate=3e-2, iterations=6, metric=metric)
    started = training(dataset, rough, architecture="basic_lstm")
    weights = []
    while not started.finished:
        started.run_iteration()
        weights.append(copy.deepcopy(started.model.state_dict()))
    values = [getattr(progress, metric) for progress in started.history]
    best = int(np.argmin(values) if metric == "tune_loss" else np.argmax(values))
    assert same(started.best_weights(), weights[best])
    running = np.minimum.accumulate(values) if metric == "tune_loss" else np.maximum.accumulate(values)
    assert [progress.objective for progress in started.history] == running.tolist()
    # The case is worth nothing if the last iteration were the best.
    assert best < len(values) - 1

    started.model.load_state_dict(started.best_weights())
    metrics = all_metrics(predict_slice(started.model, dataset, "tune", CPU, "fp32"), frozen_labels(dataset, "tune"))
    reached = {"tune_loss": mean_log_loss(metrics), "tune_auc": mean_auc(metrics)}
    assert reached[metric] == started.history[-1].objective


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_learns(dataset: Dataset, architecture: str) -> None:
    config = TrainConfig(learning_rate=5e-3, batch_size=32, iterations=5, samples_per_iteration=480)
    history = run(training(dataset, config, architecture=architecture)).history
    assert history[0].train_loss < 0.75
    assert history[-1].train_loss < history[0].train_loss - 0.05


def test_the_train_loss_is_the_mean_over_the_anchors_of_the_iteration(dataset: Dataset) -> None:
    """With weights that do not move, and without dropout, it is what the same batches give."""
    still = dataclasses.replace(QUICK, learning_rate=1e-30, batch_size=100)
    started = training(dataset, still)
    started.model.apply(lambda part: setattr(part, "p", 0.0) if isinstance(part, torch.nn.Dropout) else None)
    for lstm in (part for part in started.model.modules() if isinstance(part, torch.nn.LSTM)):
        lstm.dropout = 0.0
    stream, losses = TrainingStream(dataset, 0, still.anchors_per_series), []
    for size in (100, 60):
        batch = stream.take(size)
        logits = forward(started.model, batch, CPU, "fp32").detach().numpy()
        known = batch.y_MKH >= 0
        losses.append(np.logaddexp(0, np.where(batch.y_MKH == 1, -logits, logits))[known].mean())
    assert started.run_iteration().train_loss == pytest.approx(np.average(losses, weights=[100, 60]), rel=1e-5)


def test_a_loss_that_is_not_finite_is_an_error_and_the_best_weights_stay_good(dataset: Dataset) -> None:
    started = training(dataset)
    started.run_iteration()
    good = copy.deepcopy(started.best_weights())
    exploding = dataclasses.replace(QUICK, learning_rate=1e38)
    started.config = exploding
    with pytest.raises(NonFiniteLossError, match=r"iteration 2"):
        started.run_iteration()
    assert started.iteration == 1
    assert same(started.best_weights(), good)
    assert all(values.isfinite().all() for values in good.values())


@pytest.mark.parametrize("metric", ["tune_loss", "tune_auc"])
def test_iterations_are_judged_by_some_anchors_and_rungs_and_the_end_by_all(dataset: Dataset, metric: Metric) -> None:
    some = dataclasses.replace(QUICK, tune_anchors=20, metric=metric)
    started = training(dataset, some, rungs=(2,))
    anchors, total = spread(dataset.frozen_anchors("tune"), 20), len(dataset.frozen_anchors("tune"))
    assert len(anchors) < total
    kept: dict[int, float] = {}
    while not started.finished:
        progress = started.run_iteration()
        p_AH = predict_anchors(started.model, dataset, anchors, CPU, "fp32")
        seen = loss_and_auc(p_AH, labels_at(dataset, anchors))
        assert (progress.tune_loss, progress.tune_auc) == pytest.approx(seen)
        # The weights of the best iteration by those few, looked at with all.
        now = copy.deepcopy(started.model.state_dict())
        started.model.load_state_dict(started.best_weights())
        metrics = all_metrics(
            predict_slice(started.model, dataset, "tune", CPU, "fp32"), frozen_labels(dataset, "tune")
        )
        kept[progress.iteration] = mean_log_loss(metrics) if metric == "tune_loss" else mean_auc(metrics)
        started.model.load_state_dict(now)
    told = {progress.iteration: progress.objective_on_all for progress in started.history}
    assert told == {1: None, 2: pytest.approx(kept[2]), 3: None, 4: pytest.approx(kept[4])}
    assert [progress.decisive for progress in started.history] == [
        progress.objective if told[progress.iteration] is None else told[progress.iteration]
        for progress in started.history
    ]


def test_how_many_anchors_judge_changes_nothing_of_what_is_learnt(dataset: Dataset, finished: Training) -> None:
    some = run(training(dataset, dataclasses.replace(QUICK, tune_anchors=20), rungs=(1, 2, 3)))
    assert same(some.model.state_dict(), finished.model.state_dict())
    assert [p.train_loss for p in some.history] == [p.train_loss for p in finished.history]


def test_more_anchors_than_there_are_is_all_of_them(dataset: Dataset, finished: Training) -> None:
    more = run(training(dataset, dataclasses.replace(QUICK, tune_anchors=10**9), rungs=(2,)))
    assert [p.tune_loss for p in more.history] == [p.tune_loss for p in finished.history]
    assert more.history[1].objective_on_all == more.history[1].objective
    with pytest.raises(InputError, match="tune_anchors must be at least 1, got 0"):
        dataclasses.replace(QUICK, tune_anchors=0)


@pytest.mark.parametrize(("samples", "seen"), [(160, "loss .* in iteration 1"), (32, "prediction after iteration 1")])
def test_a_first_iteration_that_explodes_leaves_the_weights_it_began_with(
    dataset: Dataset, samples: int, seen: str
) -> None:
    """The loss of a step shows what the step before it did; that of the last step shows in the predictions."""
    started = training(dataset, dataclasses.replace(QUICK, learning_rate=1e38, samples_per_iteration=samples))
    before = copy.deepcopy(started.model.state_dict())
    with pytest.raises(NonFiniteLossError, match=seen):
        started.run_iteration()
    assert same(started.best_weights(), before)


def test_predictions_of_a_slice_are_those_of_its_frozen_anchors_in_order(dataset: Dataset, finished: Training) -> None:
    p_AH = predict_slice(finished.model, dataset, "test", CPU, "fp32")
    assert p_AH.shape == (len(dataset.frozen_anchors("test")), 2)
    (batch,) = anchor_batches(dataset, dataset.frozen_anchors("test"), 100)
    with torch.no_grad():
        logits = forward(finished.model.eval(), batch, CPU, "fp32")
    np.testing.assert_allclose(p_AH, logits.sigmoid()[torch.from_numpy(batch.valid_MK)], atol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_the_steps_of_a_training_follow_the_schedule(dataset: Dataset, schedule: Schedule) -> None:
    config = dataclasses.replace(QUICK, batch_size=80, iterations=2, schedule=schedule)
    started = training(dataset, config)
    for last_share in (0.25, 0.75):
        before = [progress.objective for progress in started.history]
        started.run_iteration()
        peak = config.learning_rate * rate_share(schedule, last_share, before, 2)
        rates = [group["lr"] for group in started.state()["optimizer"]["param_groups"]]
        assert sorted(set(rates)) == pytest.approx([peak * 0.5, peak * 1.0, peak * 2.0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        *[
            ({name: 0}, f"{name} must be at least 1, got 0")
            for name in ("batch_size", "iterations", "samples_per_iteration", "patience", "anchors_per_series")
        ],
        ({"learning_rate": 0.0}, r"learning_rate must be above 0, got 0\.0"),
        ({"learning_rate": math.inf}, r"learning_rate must be above 0, got inf"),
        ({"learning_rate": math.nan}, r"learning_rate must be above 0, got nan"),
        ({"weight_decay": -1.0}, r"weight_decay must be at least 0 and finite, got -1\.0"),
        ({"weight_decay": math.nan}, r"weight_decay must be at least 0 and finite, got nan"),
        ({"weight_decay": math.inf}, r"weight_decay must be at least 0 and finite, got inf"),
        ({"gradient_clip": 0.0}, r"gradient_clip must be above 0, got 0\.0"),
        ({"micro_batch": 0}, r"micro_batch must be at least 1, got 0"),
        ({"schedule": "linear"}, r"schedule must be one of cosine, plateau, got 'linear'"),
        ({"loss": "hinge"}, r"loss must be one of cross_entropy, focal, got 'hinge'"),
        ({"class_weights": "balanced"}, r"class_weights must be none, auto or .* got 'balanced'"),
        ({"class_weights": (1.0, 0.0)}, r"class_weights must be above 0 and finite, got \(1\.0, 0\.0\)"),
    ],
)
def test_an_impossible_training_is_refused_with_rule_and_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**values)


def test_every_configuration_is_judged_on_the_same_anchors_whatever_its_windows_and_batches(dataset: Dataset) -> None:
    shape = {"input_size": len(dataset.info.features), "horizons": len(dataset.info.horizons), "hidden_size": 16}
    expected = len(dataset.frozen_anchors("tune"))
    for architecture, values in (
        ("basic_lstm", {"window": 15}),
        ("basic_lstm", {"window": 400}),
        ("transformer", {"attention_heads": 2}),
        ("tcn", {"levels": 7}),
        ("hybrid_lstm", {"windows": (240,), "attention_heads": 2, "attention_span": 5}),
    ):
        model = build_model(model_config(architecture, shape | values), 0)
        assert len(predict_slice(model, dataset, "tune", CPU, "fp32")) == expected


@pytest.mark.parametrize("architecture", OWN)
def test_a_batch_of_one_anchor_trains(dataset: Dataset, architecture: str) -> None:
    one = dataclasses.replace(QUICK, batch_size=1, iterations=1, samples_per_iteration=12)
    trained = run(training(dataset, one, architecture=architecture))
    assert trained.history[0].samples == 12
    assert np.isfinite(trained.history[0].tune_loss)
