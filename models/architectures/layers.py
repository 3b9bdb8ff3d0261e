"""Parts that the architectures share. All are causal: what they give for an anchor uses bars up to it only.

Shapes: M series, T minutes, K anchors of a series, W minutes of a window, F features, D hidden, H horizons,
J keys, N = M * K.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridtune.models.architectures.positions import Positions


def rows_at(x_MTD: Tensor, anchor_MK: Tensor) -> Tensor:
    """x_MKD: the rows of each series at its anchors."""
    return x_MTD.gather(1, anchor_MK[..., None].expand(-1, -1, x_MTD.shape[-1]))


def gather_windows(x_MTF: Tensor, anchor_MK: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """The last `window` minutes up to each anchor: (x_NWF, last_N).

    A history shorter than the window starts at position 0 and ends at last_N. What follows last_N is
    filler: a causal encoder read at last_N never sees it.
    """
    window = min(window, x_MTF.shape[1])
    first_MK = (anchor_MK - window + 1).clamp(min=0)
    index_MKW = first_MK[..., None] + torch.arange(window, device=x_MTF.device)
    series_M11 = torch.arange(len(x_MTF), device=x_MTF.device)[:, None, None]
    return x_MTF[series_M11, index_MKW].flatten(0, 1), (anchor_MK - first_MK).flatten()


class WindowEncoder(nn.Module):
    """An LSTM over the last `window` minutes up to each anchor; its state at the anchor."""

    def __init__(self, window: int, input_size: int, hidden_size: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.window = window
        self.lstm = make_lstm(input_size, hidden_size, layers, dropout)

    def forward(self, x_MTF: Tensor, anchor_MK: Tensor) -> Tensor:
        x_NWF, last_N = gather_windows(x_MTF, anchor_MK, self.window)
        h_NWD, _ = self.lstm(x_NWF)
        return rows_at(h_NWD, last_N[:, None]).view(*anchor_MK.shape, -1)


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
