"""Parts that the architectures share. All are causal: what they give for an anchor uses bars up to it only.

Shapes: M series, T minutes, K anchors of a series, W minutes of a window, F features, D hidden, H horizons,
J keys, N = M * K.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridtune.models.architectures.config import WindowRunsName
from hybridtune.models.architectures.positions import Positions


def rows_at(x_MTD: Tensor, anchor_MK: Tensor) -> Tensor:
    """x_MKD: the rows of each series at its anchors."""
    return x_MTD.gather(1, anchor_MK[..., None].expand(-1, -1, x_MTD.shape[-1]))


class WindowEncoder(nn.Module):
    """An LSTM over the last minutes up to each anchor; its state at the anchor.

    own: each anchor has a run of the LSTM to itself, over the last `window` minutes. shared: a run begins every
    window // 2 minutes from launch and lasts `window` minutes, and an anchor reads the earliest one that is under way,
    which has seen more than half of the window. Where a run begins depends on the anchor's minute alone, so the anchors
    of a series can share runs, and still nothing depends on what comes after an anchor.
    """

    def __init__(
        self, window: int, input_size: int, hidden_size: int, layers: int, dropout: float, runs: WindowRunsName = "own"
    ) -> None:
        super().__init__()
        self.window = window
        self.stride = max(1, window // 2) if runs == "shared" else 1
        self.lstm = make_lstm(input_size, hidden_size, layers, dropout)

    def forward(self, x_MTF: Tensor, anchor_MK: Tensor) -> Tensor:
        """state_MKD. A history shorter than the window is read from its first minute."""
        first_MK = first_minutes(anchor_MK, self.window, self.stride)
        minutes = min(self.window, x_MTF.shape[1])
        every = 1 + -(-(x_MTF.shape[1] - minutes) // self.stride)
        if every < anchor_MK.shape[1]:
            run_MK = first_MK // self.stride
            x_MRWF = every_run(x_MTF, minutes, self.stride, every)
        else:
            run_MK = torch.arange(anchor_MK.shape[1], device=x_MTF.device).expand_as(anchor_MK)
            x_MRWF = runs_from(x_MTF, first_MK, minutes)
        h_NWD, _ = self.lstm(x_MRWF.flatten(0, 1))
        # Of each series, its runs one after another.
        h_MLD = h_NWD.reshape(len(x_MTF), -1, h_NWD.shape[-1])
        return rows_at(h_MLD, run_MK * minutes + anchor_MK - first_MK)


def first_minutes(anchor_MK: Tensor, window: int, stride: int) -> Tensor:
    """first_MK: the first multiple of `stride` of the last `window` minutes up to each anchor."""
    return -(-(anchor_MK - window + 1).clamp(min=0) // stride) * stride


def runs_from(x_MTF: Tensor, first_MK: Tensor, minutes: int) -> Tensor:
    """x_MKWF: so many minutes from each first one on. What would lie after the last minute is filler, which a causal
    encoder that is read before it never sees.
    """
    index_MKW = (first_MK[..., None] + torch.arange(minutes, device=x_MTF.device)).clamp(max=x_MTF.shape[1] - 1)
    series_M11 = torch.arange(len(x_MTF), device=x_MTF.device)[:, None, None]
    return x_MTF[series_M11, index_MKW]


def every_run(x_MTF: Tensor, minutes: int, stride: int, runs: int) -> Tensor:
    """x_MRWF: so many minutes from the first one on, from `stride` minutes later on, and so on; filled with zeros."""
    missing = (runs - 1) * stride + minutes - x_MTF.shape[1]
    return F.pad(x_MTF, (0, 0, 0, missing)).unfold(1, minutes, stride).transpose(2, 3)


class Rotation(NamedTuple):
    """The minutes of queries and keys, for positions that rotate them."""

    positions: Positions
    query_minute_NK: Tensor
    key_minute_NJ: Tensor


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, section 3.2) with queries of its own."""

    def __init__(self, hidden_size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)

    def forward(
        self,
        query_NKD: Tensor,
        keys_NJD: Tensor,
        allowed_NKJ: Tensor | None = None,
        rotation: Rotation | None = None,
        causal: bool = False,
    ) -> Tensor:
        """allowed_NKJ: which keys a query may attend to, at least one. None allows all; with `causal`, for which
        queries and keys are the same minutes, None allows those up to the query's.
        """
        q, k, v = self.project(query_NKD, keys_NJD, rotation)
        mask = None if allowed_NKJ is None else allowed_NKJ[:, None]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def weights(
        self, query_NKD: Tensor, keys_NJD: Tensor, allowed_NKJ: Tensor | None = None, rotation: Rotation | None = None
    ) -> Tensor:
        """The attention weights (N, heads, K, J); each row sums to one."""
        q, k, _ = self.project(query_NKD, keys_NJD, rotation)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if allowed_NKJ is not None:
            scores = scores.masked_fill(~allowed_NKJ[:, None], -torch.inf)
        weights: Tensor = scores.softmax(dim=-1)
        return weights

    def project(
        self, query_NKD: Tensor, keys_NJD: Tensor, rotation: Rotation | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (N, heads, its length, D / heads)."""
        k, v = self.key_value(keys_NJD).chunk(2, dim=-1)
        q, k, v = self._split(self.query(query_NKD)), self._split(k), self._split(v)
        if rotation is not None:
            q = rotation.positions.rotated(q, rotation.query_minute_NK)
            k = rotation.positions.rotated(k, rotation.key_minute_NJ)
        return q, k, v

    def _split(self, x_NJD: Tensor) -> Tensor:
        """(N, heads, J, D / heads)."""
        return x_NJD.view(*x_NJD.shape[:2], self.heads, -1).transpose(1, 2)


def anchor_mask(anchor_MK: Tensor, minutes: int, span: int) -> Tensor:
    """allowed_MKT: minutes t-span+1..t for an anchor at t."""
    minute_T = torch.arange(minutes, device=anchor_MK.device)
    ago_MKT = anchor_MK[..., None] - minute_T
    return (ago_MKT >= 0) & (ago_MKT < span)


class HorizonHeads(nn.Module):
    """A small network of its own for each horizon: (.., D) -> logits (.., H).

    Hierarchical ones are stacked from the shortest horizon to the longest: each also reads what the one before it
    made of the state, as what happens within an hour is a part of what happens within four. Independent ones do not.
    """

    def __init__(self, input_size: int, hidden_size: int, horizons: int, dropout: float, kind: str) -> None:
        super().__init__()
        self.horizons = horizons
        self.hidden = nn.Linear(input_size, horizons * hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.weight_HD = nn.Parameter(torch.empty(horizons, hidden_size))
        self.bias_H = nn.Parameter(torch.zeros(horizons))
        nn.init.normal_(self.weight_HD, std=hidden_size**-0.5)
        links = horizons - 1 if kind == "hierarchical" else 0
        self.from_shorter = nn.ModuleList(nn.Linear(hidden_size, hidden_size, bias=False) for _ in range(links))

    def forward(self, x: Tensor) -> Tensor:
        own = self.hidden(x).view(*x.shape[:-1], self.horizons, -1)
        hidden = self._stacked(own) if self.from_shorter else F.gelu(own)
        logits: Tensor = (self.dropout(hidden) * self.weight_HD).sum(dim=-1) + self.bias_H
        return logits

    def _stacked(self, own: Tensor) -> Tensor:
        first, *longer = own.unbind(dim=-2)
        hidden = [F.gelu(first)]
        for link, state in zip(self.from_shorter, longer, strict=True):
            hidden.append(F.gelu(state + link(hidden[-1])))
        return torch.stack(hidden, dim=-2)


class LSTM(nn.LSTM):
    """PyTorch's, but always in float32 on a GPU. There autocast runs LSTMs in float16 even where bfloat16 was asked for
    (it is written into its wrapper of _cudnn_rnn), whose small gradients are lost as no loss is scaled here.
    """

    def forward(self, x_NLF: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]
        """(h_NLD, the last states), beginning with states of zero."""
        if not x_NLF.is_cuda:
            return super().forward(x_NLF)
        with torch.autocast("cuda", enabled=False):
            return super().forward(x_NLF.float())


def make_lstm(input_size: int, hidden_size: int, layers: int, dropout: float) -> LSTM:
    """Torch applies dropout between layers only and warns where there is one."""
    between = dropout if layers > 1 else 0.0
    return LSTM(input_size, hidden_size, num_layers=layers, dropout=between, batch_first=True)
