"""The shared parts against plain formulas, and the rules of the configurations."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hybridtune.data.schema import InputError
from hybridtune.models.architectures.basic_lstm import BasicLSTM
from hybridtune.models.architectures.config import WindowRunsName
from hybridtune.models.architectures.hybrid_lstm import HybridLSTM
from hybridtune.models.architectures.layers import Attention, HorizonHeads, WindowEncoder, anchor_mask, rows_at
from hybridtune.models.architectures.registry import ARCHITECTURES, build_model, config_values, model_config

M, T, K, D, HEADS = 3, 12, 5, 8, 4


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


ANCHORS_MK = torch.tensor([[0, 1, 5, 10, 11], [11, 3, 3, 0, 2], [4, 9, 8, 7, 6]])


@pytest.mark.parametrize("anchors", [3, 40])
@pytest.mark.parametrize("window", [1, 2, 5, 12, 30, 50])
@pytest.mark.parametrize("runs", ["own", "shared"])
def test_a_window_is_read_over_the_last_minutes_up_to_its_anchor(
    runs: WindowRunsName, window: int, anchors: int
) -> None:
    """However many anchors there are: all runs of a series are made, or those of its anchors."""
    minutes = 40
    x_MTF = randn(M, minutes, 2)
    anchor_MK = torch.randint(minutes, (M, anchors), generator=torch.Generator().manual_seed(window))
    encoder = WindowEncoder(window, 2, D, layers=2, dropout=0.0, runs=runs)
    state_MKD = encoder(x_MTF, anchor_MK)
    seen = set()
    for m, row in enumerate(anchor_MK.tolist()):
        for k, t in enumerate(row):
            first = max(t - window + 1, 0)
            if runs == "shared":
                first = next(minute for minute in range(first, t + 1) if minute % max(1, window // 2) == 0)
            seen.add(t - first + 1)
            alone, _ = encoder.lstm(x_MTF[m : m + 1, first : t + 1])
            torch.testing.assert_close(state_MKD[m, k], alone[0, -1])
    assert max(seen) <= window
    if anchors == 40 and runs == "shared" and 1 < window < minutes:
        assert len(seen) > window // 3


def test_rows_are_those_at_the_anchors() -> None:
    x_MTD = randn(M, T, D)
    rows = rows_at(x_MTD, ANCHORS_MK)
    assert all(torch.equal(rows[m, k], x_MTD[m, ANCHORS_MK[m, k]]) for m in range(M) for k in range(K))


@pytest.mark.parametrize("span", [1, 3, 100])
def test_an_anchor_may_look_at_the_minutes_of_its_span(span: int) -> None:
    allowed_MKT = anchor_mask(ANCHORS_MK, T, span)
    for m in range(M):
        for k, t in enumerate(ANCHORS_MK[m].tolist()):
            assert allowed_MKT[m, k].nonzero().flatten().tolist() == list(range(max(t - span + 1, 0), t + 1))


@pytest.mark.parametrize("span", [None, 1, 4, 100])
def test_attention_equals_that_of_torch(span: int | None) -> None:
    attention, query_MKD, keys_MTD = Attention(D, HEADS), randn(M, K, D), randn(M, T, D)
    allowed_MKT = None if span is None else anchor_mask(ANCHORS_MK, T, span)
    forbidden = None if allowed_MKT is None else ~allowed_MKT.repeat_interleave(HEADS, dim=0)
    expected, weights = F.multi_head_attention_forward(
        query_MKD.transpose(0, 1),
        keys_MTD.transpose(0, 1),
        keys_MTD.transpose(0, 1),
        D,
        HEADS,
        torch.cat([attention.query.weight, attention.key_value.weight]),
        torch.cat([attention.query.bias, attention.key_value.bias]),
        None,
        None,
        False,
        0.0,
        attention.out.weight,
        attention.out.bias,
        attn_mask=forbidden,
        average_attn_weights=False,
    )
    torch.testing.assert_close(attention(query_MKD, keys_MTD, allowed_MKT), expected.transpose(0, 1))
    torch.testing.assert_close(attention.weights(query_MKD, keys_MTD, allowed_MKT), weights)


def test_attention_weights_sum_to_one_and_are_zero_where_forbidden() -> None:
    allowed_MKT = anchor_mask(ANCHORS_MK, T, 3)
    weights = Attention(D, HEADS).weights(randn(M, K, D), randn(M, T, D), allowed_MKT)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(M, HEADS, K))
    assert (weights.masked_select(~allowed_MKT[:, None]) == 0).all()


def test_a_hierarchical_head_reads_the_shorter_ones_and_they_not_it() -> None:
    heads, x = HorizonHeads(D, 4, 3, 0.5, "hierarchical").eval(), randn(2, K, D)
    before = heads(x)
    assert before.shape == (2, K, 3)
    with torch.no_grad():
        heads.hidden.bias[4:8] += 1.0  # the middle horizon's own
    changed = (heads(x) - before).abs().amax(dim=(0, 1)) > 1e-4
    assert changed.tolist() == [False, True, True]


def test_each_horizon_has_a_head_of_its_own() -> None:
    heads, x = HorizonHeads(D, 4, 3, 0.5, "independent").eval(), randn(2, K, D)
    expected = []
    for h in range(3):
        rows = slice(4 * h, 4 * h + 4)
        hidden = F.gelu(x @ heads.hidden.weight[rows].T + heads.hidden.bias[rows])
        expected.append(hidden @ heads.weight_HD[h] + heads.bias_H[h])
    torch.testing.assert_close(heads(x), torch.stack(expected, dim=-1))
    heads(x)[..., 1].sum().backward()
    assert heads.weight_HD.grad is not None
    assert heads.weight_HD.grad.abs().sum(dim=1).gt(0).tolist() == [False, True, False]


@pytest.mark.parametrize("span", [4, 720])
def test_the_hybrid_shows_where_each_anchor_looked(span: int) -> None:
    config = HybridLSTM.Config(
        input_size=2, horizons=1, windows=(2, 5, 9), hidden_size=D, attention_heads=HEADS, attention_span=span
    )
    model = build_model(config, 0).eval()
    assert isinstance(model, HybridLSTM)
    maps = model.attention(randn(M, T, 2), ANCHORS_MK)
    assert maps.minutes.shape == (M, HEADS, K, T)
    assert maps.windows.shape == (M, HEADS, K, 3)
    for weights in maps:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(M, HEADS, K))
    looked = maps.minutes > 0
    assert torch.equal(looked, anchor_mask(ANCHORS_MK, T, span)[:, None].expand_as(looked))
    # A row belongs to its own series and anchor, whatever stands beside it.
    alone = model.attention(randn(M, T, 2)[1:2], ANCHORS_MK[1:2, 2:3])
    torch.testing.assert_close(alone.minutes[0, :, 0], maps.minutes[1, :, 2])
    torch.testing.assert_close(alone.windows[0, :, 0], maps.windows[1, :, 2])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_follows_from_its_configuration_and_seed(architecture: str) -> None:
    config = model_config(architecture, {"input_size": 3, "horizons": 2, "hidden_size": 16})
    before = torch.get_rng_state()
    one, again, other = (build_model(config, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert model_config(*config_values(config)) == config


def test_the_defaults_are_those_of_the_reference_configuration() -> None:
    hybrid, basic = HybridLSTM.Config(input_size=1, horizons=1), BasicLSTM.Config(input_size=1, horizons=1)
    assert (hybrid.windows, hybrid.hidden_size, hybrid.attention_heads, hybrid.dropout) == ((15, 60, 240), 128, 8, 0.3)
    assert (basic.window, basic.hidden_size, basic.dropout) == (60, 128, 0.3)


@pytest.mark.parametrize(
    ("architecture", "values", "message"),
    [
        ("hybrid_lstm", {"attention_heads": 3}, r"must divide .* got \(attention_heads=3, hidden_size=128\)"),
        ("hybrid_lstm", {"attention_heads": 0}, r"attention_heads must be at least 1, got 0"),
        ("hybrid_lstm", {"windows": (60, 15)}, r"windows must be ascending minutes above 0, got \(60, 15\)"),
        ("hybrid_lstm", {"windows": (15, 15)}, r"windows must be ascending .* got \(15, 15\)"),
        ("hybrid_lstm", {"windows": (0, 15)}, r"windows must be at least 1, got 0"),
        (
            "hybrid_lstm",
            {"windows": (15, 721)},
            r"at most the history of 720 minutes, got 721: shorten",
        ),
        ("basic_lstm", {"window": 61, "history": 60}, r"window must be at most the history of 60 minutes, got 61"),
        ("hybrid_lstm", {"positions": "polar"}, r"positions must be one of none, .*rotary, got 'polar'"),
        ("transformer", {"positions": "rotary", "hidden_size": 8}, r"hidden_size / attention_heads .* even, got"),
        (
            "transformer",
            {"positions": "sinusoidal", "hidden_size": 9, "attention_heads": 1},
            r"even .*size, got 9",
        ),
        ("transformer", {"attention_heads": 3}, r"must divide .* got \(attention_heads=3, hidden_size=128\)"),
        ("transformer", {"blocks": 0}, r"blocks must be at least 1, got 0"),
        ("tcn", {"levels": 0}, r"levels must be at least 1, got 0"),
        ("tcn", {"kernel_size": 1}, r"kernel_size must be at least 2, got 1"),
        *[(name, {"layers": 0}, r"layers must be at least 1, got 0") for name in ("basic_lstm", "hybrid_lstm")],
        ("hybrid_lstm", {"windows": ()}, r"windows must be ascending .* got \(\)"),
        ("hybrid_lstm", {"attention_span": 0}, r"attention_span must be at least 1, got 0"),
        ("hybrid_lstm", {"window": 60}, r"hybrid_lstm has no parameter 'window': it has attention_heads,"),
        ("basic_lstm", {"window": 0}, r"window must be at least 1, got 0"),
        ("basic_lstm", {"windows": (1,)}, r"basic_lstm has no parameter 'windows': it has dropout,"),
        ("gru", {}, r"architecture must be one of .*basic_lstm, .*got 'gru'"),
        *[
            case
            for name in ARCHITECTURES
            for case in (
                (name, {"hidden_size": 0}, r"hidden_size must be at least 2, got 0"),
                (name, {"history": 0}, r"history must be at least 1, got 0"),
                (name, {"hidden_size": -16}, r"hidden_size must be at least 2, got -16"),
                (name, {"horizon_heads": "one"}, r"horizon_heads must be one of independent, hierarchical, got 'one'"),
                (name, {"input_size": 0}, r"input_size must be at least 1, got 0"),
                (name, {"horizons": 0}, r"horizons must be at least 1, got 0"),
                (name, {"dropout": 1.0}, r"0 <= dropout < 1 must hold, got dropout=1\.0"),
                (name, {"dropout": -0.1}, r"0 <= dropout < 1 must hold, got dropout=-0\.1"),
                (name, {"dropout": float("nan")}, r"0 <= dropout < 1 must hold, got dropout=nan"),
            )
        ],
    ],
)
def test_an_impossible_configuration_is_refused_with_rule_and_value(
    architecture: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        model_config(architecture, {"input_size": 1, "horizons": 1} | values)
