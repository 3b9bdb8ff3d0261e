import math

import pytest
import torch

from hybridtune.models.training.steps import STEPS_BETWEEN_LOOKS, Steps


def test_the_mean_loss_weighs_steps_by_their_anchors() -> None:
    steps = Steps()
    steps.add(30, [torch.tensor(0.25), torch.tensor(0.5)], torch.tensor(1.0))
    assert steps.look() is None
    steps.add(10, [torch.tensor(1.75)], torch.tensor(2.0))
    assert steps.look() is None
    assert steps.mean_loss() == (30 * 0.75 + 10 * 1.75) / 40


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (0.5, math.inf)])
def test_the_first_step_that_is_not_finite_is_told(loss: float, norm: float) -> None:
    steps = Steps()
    for one, other in ((0.5, 1.0), (loss, norm), (math.nan, math.nan)):
        steps.add(8, [torch.tensor(one)], torch.tensor(other))
    bad = steps.look()
    assert bad == pytest.approx((loss, norm), nan_ok=True)


def test_steps_are_looked_at_now_and_then() -> None:
    steps, due = Steps(), []
    for _ in range(STEPS_BETWEEN_LOOKS):
        due.append(steps.due)
        steps.add(8, [torch.tensor(0.5)], torch.tensor(1.0))
    assert not any(due)
    assert steps.due
    steps.look()
    assert not steps.due
