"""The contract of every model: an anchor's logit is what its series gives when it is cut there and fed alone.

What holds for whole padded batches and for cut series alike has not looked ahead.
"""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hybridtune.data.batches import TrainingStream
from hybridtune.data.store import Dataset
from hybridtune.models.architectures.positions import POSITIONS
from hybridtune.models.architectures.registry import build_model, model_config
from hybridtune.models.architectures.scaler import train_bars
from hybridtune.models.inference import predict_batch

LENGTHS = (240, 131, 47, 9, 1)
"""Bars of the series in a batch: beyond every window, between them, and one minute only."""

CONFIGS = {
    "basic": ("basic_lstm", {"window": 60}),
    "basic, two layers, window of one minute": ("basic_lstm", {"window": 1, "layers": 2}),
    "basic, window beyond every series": ("basic_lstm", {"window": 500}),
    "basic, hierarchical heads": ("basic_lstm", {"horizon_heads": "hierarchical"}),
    "basic, own runs": ("basic_lstm", {"window_runs": "own", "layers": 2}),
    "hybrid": ("hybrid_lstm", {}),
    "hybrid, two layers": ("hybrid_lstm", {"layers": 2, "windows": (5, 15, 60)}),
    "hybrid, span of 30 minutes": ("hybrid_lstm", {"attention_span": 30, "attention_heads": 2}),
    "hybrid, one window, span of one minute": ("hybrid_lstm", {"attention_span": 1, "windows": (100,)}),
    "basic, robust scaling": ("basic_lstm", {"scaling": "robust"}),
    "hybrid, quantile scaling": ("hybrid_lstm", {"scaling": "quantile"}),
    "hybrid, five windows": ("hybrid_lstm", {"windows": (1, 2, 15, 120, 480)}),
    "hybrid, own runs": ("hybrid_lstm", {"window_runs": "own"}),
    "hybrid, own runs of five windows": (
        "hybrid_lstm",
        {"window_runs": "own", "windows": (1, 2, 15, 120, 480), "layers": 2},
    ),
    "hybrid, independent heads": ("hybrid_lstm", {"horizon_heads": "independent"}),
    **{f"hybrid, {name} positions": ("hybrid_lstm", {"positions": name}) for name in POSITIONS[1:]},
    **{f"transformer, {name} positions": ("transformer", {"positions": name}) for name in POSITIONS},
    "transformer, one block": ("transformer", {"blocks": 1, "positions": "rotary"}),
    "transformer, four blocks": ("transformer", {"blocks": 4, "attention_heads": 2}),
    "tcn": ("tcn", {}),
    "tcn, seen further than any series": ("tcn", {"levels": 8, "kernel_size": 5}),
    "tcn, one level": ("tcn", {"levels": 1, "kernel_size": 2, "scaling": "robust"}),
}


@pytest.fixture(scope="module", params=list(CONFIGS.values()), ids=list(CONFIGS))
def model(request: pytest.FixtureRequest, dataset: Dataset) -> nn.Module:
    """With parameters that were not left at zero, and dropout that eval mode must switch off."""
    architecture, values = request.param
    small: dict[str, Any] = {"hidden_size": 16, "dropout": 0.5, "input_size": len(dataset.info.features), "horizons": 3}
    heads = {"attention_heads": 4} if architecture in ("hybrid_lstm", "transformer") else {}
    model = build_model(model_config(architecture, small | heads | values), seed=0)
    model.scaling.fit(train_bars(dataset))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def x_MTF(dataset: Dataset) -> Tensor:
    """Padded with what would show if it were read."""
    x_MTF = np.full((len(LENGTHS), max(LENGTHS), len(dataset.info.features)), 1e4, dtype=np.float32)
    for row, length in enumerate(LENGTHS):
        x_MTF[row, :length] = dataset.x_TF(row)[:length]
    return torch.from_numpy(x_MTF)


def logits(model: nn.Module, x_MTF: Tensor, anchor_MK: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(x_MTF, anchor_MK)
    assert out.shape == (*anchor_MK.shape, 3)
    assert out.isfinite().all()
    return out


def assert_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def random_anchors(seed: int) -> Tensor:
    """Six minutes of each series, the first and the last among them."""
    rng = np.random.default_rng(seed)
    return torch.tensor([[0, length - 1, *rng.integers(0, length, 4)] for length in LENGTHS])


@pytest.mark.parametrize("seed", [0, 1])
def test_an_anchor_gives_what_its_series_gives_cut_there_and_alone(model: nn.Module, x_MTF: Tensor, seed: int) -> None:
    anchor_MK = random_anchors(seed)
    together = logits(model, x_MTF, anchor_MK)
    for m, row in enumerate(anchor_MK.tolist()):
        for k, t in enumerate(row):
            alone = logits(model, x_MTF[m : m + 1, : t + 1], torch.tensor([[t]]))
            assert_close(together[m, k], alone[0, 0])
    assert together[:, 1].std(dim=0).max() > 1e-2


@settings(max_examples=25, deadline=None)
@given(t=st.integers(0, 238), seed=st.integers(0, 99))
def test_an_anchor_does_not_depend_on_later_bars(model: nn.Module, x_MTF: Tensor, t: int, seed: int) -> None:
    anchor_MK = torch.tensor([[t, min(t + 1, 238), 239]])
    changed = x_MTF[:1].clone()
    changed[:, t + 1 :] = 100 * torch.randn(changed[:, t + 1 :].shape, generator=torch.Generator().manual_seed(seed))
    before, after = logits(model, x_MTF[:1], anchor_MK), logits(model, changed, anchor_MK)
    assert_close(before[:, 0], after[:, 0])
    assert (before[:, 2] - after[:, 2]).abs().max() > 1e-3


def test_an_anchor_depends_on_its_own_bar(model: nn.Module, x_MTF: Tensor) -> None:
    for t in (0, 30, 239):
        changed = x_MTF[:1].clone()
        changed[:, t] += 1
        anchor = torch.tensor([[t]])
        assert (logits(model, x_MTF[:1], anchor) - logits(model, changed, anchor)).abs().max() > 1e-4


def test_neither_padding_nor_company_nor_order_matters(model: nn.Module, x_MTF: Tensor) -> None:
    anchor_MK = random_anchors(2)
    together = logits(model, x_MTF, anchor_MK)
    longer = torch.cat([x_MTF, torch.zeros_like(x_MTF)], dim=1)
    assert_close(logits(model, longer, anchor_MK), together)
    assert_close(logits(model, x_MTF.flip(0), anchor_MK.flip(0)), together.flip(0))
    assert_close(logits(model, x_MTF, anchor_MK.flip(1)), together.flip(1))
    for m, length in enumerate(LENGTHS):
        assert_close(logits(model, x_MTF[m : m + 1, :length], anchor_MK[m : m + 1])[0], together[m])


def test_a_batch_of_the_training_stream_gives_what_each_series_gives_alone(model: nn.Module, dataset: Dataset) -> None:
    """Through the batches that training and evaluation use, in probabilities."""
    batch = TrainingStream(dataset, 0, 7).take(50)
    together = predict_batch(model, batch, torch.device("cpu"), "fp32")
    rows = np.repeat(np.arange(len(batch.length_M)), batch.valid_MK.sum(axis=1))
    for place in (0, 8, 17, 26, 35, 44, 49):
        t = int(batch.anchor_MK[batch.valid_MK][place])
        cut = torch.from_numpy(batch.x_MTF[rows[place] : rows[place] + 1, : t + 1])
        alone = logits(model, cut, torch.tensor([[t]])).sigmoid()[0, 0]
        np.testing.assert_allclose(together[place], alone, rtol=0, atol=1e-5)
