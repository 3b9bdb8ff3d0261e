"""Each component learns at its own rate, and the rate takes its course."""

import numpy as np
import pytest
import torch

from hybridtune.models.architectures.positions import POSITIONS
from hybridtune.models.architectures.registry import ARCHITECTURES, build_model, model_config
from hybridtune.models.training.optimizer import (
    by_component,
    make_optimizer,
    plateaus,
    rate_share,
    set_learning_rate,
)

EXPECTED = {
    "basic_lstm": {"encoder": {"encoder"}, "head": {"heads"}},
    "hybrid_lstm": {
        "encoder": {"expanding", "window_encoders"},
        "attention": {"self_attention", "self_norm", "window_embedding_SD", "cross_attention", "cross_norm"},
        "head": {"fusion", "heads"},
    },
    "transformer": {"encoder": {"embedding"}, "attention": {"blocks", "norm"}, "head": {"heads"}},
    "tcn": {"encoder": {"embedding", "levels"}, "head": {"norm", "heads"}},
}


def make(architecture: str, **values: object):  # type: ignore[no-untyped-def]
    sizes = {"input_size": 3, "horizons": 2, "hidden_size": 16}
    return build_model(model_config(architecture, sizes | values), 0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lstms_learn_at_the_rate_attention_at_half_fusion_and_heads_at_twice_of_it(architecture: str) -> None:
    model = make(architecture)
    optimizer = make_optimizer(model, 1e-3, 0.02)
    set_learning_rate(optimizer, 4e-4)
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    rates = {"encoder": 4e-4, "attention": 2e-4, "head": 8e-4}
    seen: dict[str, set[str]] = {}
    for name, parameter in model.named_parameters():
        (component,) = [c for c, rate in rates.items() if rate == pytest.approx(rate_of[id(parameter)])]
        seen.setdefault(component, set()).add(name.split(".")[0])
    assert seen == EXPECTED[architecture]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_weighs_inputs_decays_and_biases_norms_and_embeddings_do_not(architecture: str) -> None:
    """All of it decayed, towards zero gain of a norm and one place for every window."""
    own = {"positions": "learned"} if architecture in ("hybrid_lstm", "transformer") else {}
    model = make(architecture, **own)
    optimizer = make_optimizer(model, 1e-3, 0.02)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        # Biases and the gains of norms are vectors.
        place = parameter.ndim == 1 or name.endswith(("embedding_SD", "table.weight"))
        assert decay[id(parameter)] == (0.0 if place else 0.02), name


def test_the_rate_has_its_peak_before_any_trial_is_judged() -> None:
    """With 100 iterations it took five to get there, and the first rung lies at the fourth."""
    assert rate_share("cosine", 1 / 100, [], 100) == pytest.approx(1.0)
    assert rate_share("cosine", 0.5 / 100, [], 100) < 0.6
    assert rate_share("cosine", 0.02, [], 12) < 0.5


@pytest.mark.parametrize("positions", POSITIONS)
def test_every_parameter_is_in_one_group_once(positions: str) -> None:
    for architecture in ("hybrid_lstm", "transformer"):
        model = make(architecture, positions=positions)
        listed = [id(p) for parameters in by_component(model).values() for p in parameters]
        assert sorted(listed) == sorted(id(p) for p in model.parameters())


def test_a_step_moves_each_group_by_its_own_rate() -> None:
    """AdamW's first step moves every parameter by its rate, whatever the gradient."""
    model = make("hybrid_lstm")
    optimizer = make_optimizer(model, 1e-3, 0.0)
    set_learning_rate(optimizer, 1e-3)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.3)
    optimizer.step()
    moved = {name: float((p.detach() - before[name]).abs().median()) for name, p in model.named_parameters()}
    assert moved["expanding.weight_hh_l0"] == pytest.approx(1e-3, rel=1e-3)
    assert moved["cross_attention.query.weight"] == pytest.approx(0.5e-3, rel=1e-3)
    assert moved["heads.hidden.weight"] == pytest.approx(2e-3, rel=1e-3)


def test_the_cosine_warms_up_to_its_peak_and_falls() -> None:
    def share(done: float) -> float:
        return rate_share("cosine", done, [], 20)

    assert 0 < share(0.0) < 0.05
    assert share(0.05) == pytest.approx(1.0)
    assert share(0.05 + 0.95 / 2) == pytest.approx((1 + 0.05) / 2)
    assert share(1.0) == pytest.approx(0.05)
    done = np.linspace(0, 1, 501)
    rates = np.array([share(float(d)) for d in done])
    assert (np.diff(rates[done <= 0.05]) > 0).all()
    assert (np.diff(rates[done >= 0.05]) < 0).all()
    assert np.abs(np.diff(rates)).max() < 0.05


@pytest.mark.parametrize(
    ("objectives", "count"),
    [
        ([], 0),
        ([0.7], 0),
        ([0.7, 0.6, 0.5, 0.4], 0),
        ([0.7, 0.7, 0.7], 0),
        ([0.7, 0.7, 0.7, 0.7], 1),
        ([0.7] * 6, 1),
        ([0.7] * 7, 2),
        ([0.7, 0.7, 0.7, 0.6, 0.6, 0.6], 0),
        ([0.7, 0.7, 0.7, 0.7, 0.6, 0.6, 0.6, 0.6], 2),
    ],
)
def test_a_plateau_is_three_iterations_that_do_not_improve(objectives: list[float], count: int) -> None:
    assert plateaus(objectives) == count
    assert rate_share("plateau", 0.5, objectives, 20) == pytest.approx(max(0.05, 0.5**count))


def test_the_plateau_schedule_warms_up_too_and_has_a_floor() -> None:
    assert rate_share("plateau", 0.01, [], 20) == rate_share("cosine", 0.01, [], 20)
    assert rate_share("plateau", 0.9, [0.7] * 100, 20) == pytest.approx(0.05)
