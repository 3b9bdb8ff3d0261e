"""A configuration on several walk-forward folds is scored by their mean, and goes on where it stopped."""

import copy
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from hybridtune.data.batches import frozen_labels
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.store import Dataset
from hybridtune.models.architectures.registry import build_model, model_config
from hybridtune.models.architectures.scaler import train_bars
from hybridtune.models.loss_and_auc import loss_and_auc
from hybridtune.models.training.config import TrainConfig
from hybridtune.models.training.fit import Training, predict_slice
from hybridtune.models.training.folds import FoldedTraining, mean_progress
from hybridtune.models.training.progress import Progress

CONFIG = TrainConfig(iterations=3, samples_per_iteration=64, batch_size=32)


@pytest.fixture(scope="module")
def folded(raw: Path, prepare_config: PrepareConfig, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("folded") / "dataset"
    prepare(raw, out, dataclasses.replace(prepare_config, folds=3))
    return Dataset(out)


def part(fold: Dataset, config: TrainConfig = CONFIG, rungs: tuple[int, ...] = ()) -> Training:
    shape = {"input_size": len(fold.info.features), "horizons": len(fold.info.horizons)}
    model = build_model(model_config("basic_lstm", {"hidden_size": 8, "window": 10} | shape), seed=0)
    model.scaling.fit(train_bars(fold))
    return Training(model, fold, config, 0, torch.device("cpu"), "fp32", rungs)


def without_time(history: list[Progress]) -> list[Progress]:
    return [dataclasses.replace(progress, seconds=0.0) for progress in history]


def test_every_fold_trains_before_its_tune_slice_and_blend_and_test_stay_last(folded: Dataset) -> None:
    views = folded.folds()
    assert len(views) == 3
    assert len(folded.info.folds) == 2
    starts, bars = folded.series.start_M, folded.series.bars_M
    for view, later in zip(views, [*views[1:], None], strict=True):
        train, tune = view.members("train"), view.members("tune")
        assert (starts[train] + bars[train]).max() <= starts[tune].min()
        assert len(view.frozen_anchors("tune")) > 0
        if later is not None:
            assert starts[tune].max() < starts[later.members("tune")].min()
            assert len(view.members("blend")) == len(view.members("test")) == 0
    assert len(views[-1].members("test")) > 0


def test_its_metrics_are_the_means_over_the_folds(folded: Dataset) -> None:
    together = FoldedTraining([part(fold) for fold in folded.folds()])
    alone = [part(fold) for fold in folded.folds()]
    for _ in range(2):
        progress = together.run_iteration()
        singles = [training.run_iteration() for training in alone]
        assert progress.tune_loss == pytest.approx(np.mean([single.tune_loss for single in singles]))
        assert progress.tune_auc == pytest.approx(np.mean([single.tune_auc for single in singles]))
        assert progress.samples == sum(single.samples for single in singles)
    assert together.history[-1].objective == min(progress.tune_loss for progress in together.history)


@pytest.mark.parametrize("sees_all", [(True, True), (True, False), (False, False)])
def test_what_is_decided_by_is_of_the_kept_weights_of_every_fold(
    folded: Dataset, monkeypatch: pytest.MonkeyPatch, sees_all: tuple[bool, bool]
) -> None:
    """Of a fold whose frozen anchors are all seen the best of its own was taken, of the others the kept weights'."""
    parts = [part(fold, rungs=(3,)) for fold in folded.folds()[:2]]
    for one, losses, sees in zip(parts, ([0.6, 0.5, 0.7], [0.8, 0.95, 0.6]), sees_all, strict=True):
        looks = iter(losses)
        if not sees:
            # Each is followed by the look at all with the weights of the third iteration, which are the best.
            looks = iter([*losses, losses[2]])
            monkeypatch.setattr(one, "_seen", one._anchors.series_A[:1])
        monkeypatch.setattr(one, "_look", lambda *given, looks=looks: (next(looks), 0.5))
    together = FoldedTraining(parts)
    for _ in range(3):
        progress = together.run_iteration()
    assert progress.decisive == pytest.approx((0.7 + 0.6) / 2)


def test_the_objective_is_the_best_mean_and_not_the_mean_of_the_bests() -> None:
    def progress(iteration: int, loss: float) -> Progress:
        return Progress(iteration, 1, 0.0, tune_loss=loss, tune_auc=0.5, objective=loss, seconds=1.0, micro_batch=8)

    first = mean_progress([progress(1, 1.0), progress(1, 3.0)], [], "tune_loss")
    second = mean_progress([progress(2, 3.0), progress(2, 1.5)], [first], "tune_loss")
    assert (first.objective, second.tune_loss, second.objective) == (2.0, 2.25, 2.0)


def test_what_is_kept_of_each_fold_is_of_the_best_mean_and_judged_by_all_anchors(folded: Dataset) -> None:
    # It learns so fast that it gets worse.
    config = dataclasses.replace(CONFIG, learning_rate=0.3, iterations=6, tune_anchors=12)
    together = FoldedTraining([part(fold, config, rungs=(2,)) for fold in folded.folds()])
    states = []
    while not together.finished:
        together.run_iteration()
        states.append([copy.deepcopy(each.model.state_dict()) for each in together.parts])
    losses = [progress.tune_loss for progress in together.history]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1
    for each, state in zip(together.parts, states[best], strict=True):
        assert all(torch.equal(value, state[name]) for name, value in each.best_weights().items())
        each.model.load_state_dict(state)
    on_all = [progress.objective_on_all for progress in together.history]
    assert [value is None for value in on_all] == [True, False, True, True, True, False]
    means = []
    for each, fold in zip(together.parts, folded.folds(), strict=True):
        p_AH = predict_slice(each.model, fold, "tune", torch.device("cpu"), "fp32")
        means.append(loss_and_auc(p_AH, frozen_labels(fold, "tune"))[0])
    assert on_all[-1] == pytest.approx(np.mean(means))


def test_stopped_and_continued_it_ends_as_if_never_stopped(folded: Dataset) -> None:
    whole = FoldedTraining([part(fold) for fold in folded.folds()])
    while not whole.finished:
        whole.run_iteration()
    stopped = FoldedTraining([part(fold) for fold in folded.folds()])
    stopped.run_iteration()
    buffer = io.BytesIO()
    torch.save(stopped.state(), buffer)
    buffer.seek(0)
    again = FoldedTraining([part(fold) for fold in folded.folds()])
    again.load_state(torch.load(buffer, weights_only=True))
    while not again.finished:
        again.run_iteration()
    assert without_time(again.history) == without_time(whole.history)
    for one, other in zip(again.parts, whole.parts, strict=True):
        weights = other.model.state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in one.model.state_dict().items())
