"""The loss over known labels: plain, weighted by class, focal."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hybridtune.data.batches import frozen_labels
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.schema import InputError
from hybridtune.data.store import Dataset, usable_minutes
from hybridtune.models.training.config import LossName
from hybridtune.models.training.loss import Loss, make_loss

LOGITS = torch.tensor([[[0.3, -2.0], [9.0, 0.1]]])
Y = torch.tensor([[[1, -1], [-1, 0]]], dtype=torch.int8)


def test_masked_labels_count_nowhere() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = Loss("cross_entropy", None).summed(logits, Y)
    torch.testing.assert_close(loss, F.softplus(torch.tensor(-0.3)) + F.softplus(torch.tensor(0.1)))
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad != 0).tolist() == [[[True, False], [False, True]]]


def test_a_positive_weight_multiplies_the_rises_of_its_horizon_alone() -> None:
    y = torch.tensor([[[1, 1], [0, 0]]], dtype=torch.int8)
    weighted = Loss("cross_entropy", (3.0, 0.5)).summed(LOGITS, y)
    expected = F.binary_cross_entropy_with_logits(
        LOGITS + torch.tensor([3.0, 0.5]).log(), y.float(), pos_weight=torch.tensor([3.0, 0.5]), reduction="sum"
    )
    torch.testing.assert_close(weighted, expected)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_weights_do_not_move_the_probabilities_by_which_a_model_is_scored(name: LossName) -> None:
    """Balanced, it said 0.5 where 0.31 is true, and lost by construction: a log loss of 0.66 against 0.60."""
    y = torch.zeros(1, 100, 1, dtype=torch.int8)
    y[:, :31] = 1
    logit = torch.zeros(1, 1, 1, requires_grad=True)
    optimizer = torch.optim.Adam([logit], lr=0.05)
    for _ in range(500):
        optimizer.zero_grad()
        Loss(name, (0.69 / 0.31,)).summed(logit.expand(1, 100, 1), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(logit.detach().sigmoid()) == pytest.approx(0.31, abs=0.001)


def test_every_horizon_weighs_the_same_however_many_of_its_labels_are_known(dataset: Dataset) -> None:
    """The metric is the mean over horizons; the loss was that over labels, of which the longest horizon has fewest."""
    known_H = dataset.info.slices["train"].known_labels
    weight_H = make_loss("cross_entropy", "none", dataset).horizon_H
    assert weight_H is not None
    total = [known * weight for known, weight in zip(known_H, weight_H, strict=True)]
    assert total == pytest.approx([sum(known_H) / len(known_H)] * len(known_H))
    y = torch.tensor([[[1, -1], [1, 0]]], dtype=torch.int8)
    value = Loss("cross_entropy", None, (0.5, 2.0)).summed(torch.zeros(1, 2, 2), y)
    assert float(value) == pytest.approx((2 * 0.5 + 2.0) * np.log(2))


def test_focal_loss_is_the_papers() -> None:
    """-(1 - p_t)^2 log p_t with p_t the probability given to what happened."""
    y = torch.tensor([[[1, 0], [0, 1]]], dtype=torch.int8)
    p = LOGITS.double().sigmoid()
    p_t = torch.where(y > 0, p, 1 - p)
    expected = float((-((1 - p_t) ** 2) * p_t.log()).sum())
    assert float(Loss("focal", None).summed(LOGITS, y)) == pytest.approx(expected, rel=1e-4)


def test_a_label_that_is_surely_right_or_wrong_has_a_finite_gradient() -> None:
    for name in ("cross_entropy", "focal"):
        logits = torch.tensor([[[100.0, -100.0, 0.0]]], requires_grad=True)
        Loss(name, (2.0, 2.0, 2.0)).summed(logits, torch.tensor([[[1, 1, 1]]], dtype=torch.int8)).backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


def test_automatic_weights_balance_the_classes_of_train(dataset: Dataset) -> None:
    rises, falls = np.zeros(2), np.zeros(2)
    for series in dataset.members("train"):
        y_TH = dataset.y_TH(int(series))
        y_AH = y_TH[usable_minutes(y_TH)]
        rises, falls = rises + (y_AH == 1).sum(axis=0), falls + (y_AH == 0).sum(axis=0)
    positive_H = make_loss("cross_entropy", "auto", dataset).positive_H
    assert positive_H is not None
    np.testing.assert_allclose(np.array(positive_H) * rises, falls, rtol=1e-6)
    assert (frozen_labels(dataset, "tune") >= 0).any()


def test_automatic_weights_of_a_fold_come_from_its_own_train(
    raw: Path, prepare_config: PrepareConfig, tmp_path: Path
) -> None:
    prepare(raw, tmp_path / "out", dataclasses.replace(prepare_config, folds=2))
    earlier, last = Dataset(tmp_path / "out").folds()
    for fold in (earlier, last):
        labels = []
        for series in fold.members("train"):
            y_TH = fold.y_TH(int(series))
            labels.append(y_TH[usable_minutes(y_TH)])
        y_AH = np.concatenate(labels)
        expected = (y_AH == 0).sum(axis=0) / (y_AH == 1).sum(axis=0)
        np.testing.assert_allclose(make_loss("focal", "auto", fold).positive_H, expected, rtol=1e-6)
    assert make_loss("focal", "auto", earlier) != make_loss("focal", "auto", last)


def test_given_weights_are_one_for_each_horizon(dataset: Dataset) -> None:
    assert make_loss("cross_entropy", (1.0, 2.0), dataset).positive_H == (1.0, 2.0)
    with pytest.raises(InputError, match=r"one weight for each of the 2 horizons \(15, 60\), got \(1\.0,\)"):
        make_loss("cross_entropy", (1.0,), dataset)
