"""The rival of benchmarks.train_throughput: the hybrid as people write it first, one sample at a time.

A sample is (series, anchor). Each brings its own copy of the history from launch, padded to the longest
history, through the expanding LSTM; self-attention computes every minute as a query; the windows are cut from
the sample's copy. The layers are those of a HybridLSTM, so both give the same logits.

Shapes: N samples, T minutes of the padded history, W minutes of a window, F features, D hidden, H horizons,
S windows.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from hybridtune.data.batches import Batch
from hybridtune.models.architectures.hybrid_lstm import HybridLSTM
from hybridtune.models.architectures.layers import WindowEncoder, first_minutes


def expanding_samples(batch: Batch, history: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(x_NTF, last_N): for each anchor of the batch, in its order, the bars 0..last.

    Padded after the end: a causal layer read at `last` never sees it, so the padding is exact.
    """
    series_N, slot_N = np.nonzero(batch.valid_MK)
    last_N = batch.anchor_MK[series_N, slot_N]
    x_NTF = np.zeros((len(last_N), history, batch.x_MTF.shape[2]), dtype=np.float32)
    for row, (series, last) in enumerate(zip(series_N, last_N, strict=True)):
        x_NTF[row, : last + 1] = batch.x_MTF[series, : last + 1]
    return x_NTF, last_N


class PerSampleHybrid(nn.Module):
    """The same function as `hybrid`, with its layers. attention_span must reach back to launch.

    keep_weights: self-attention holds its T x T weights, as torch.nn.MultiheadAttention does unless told
    otherwise; else the fused kernel runs, which never holds them.
    """

    def __init__(self, hybrid: HybridLSTM, history: int, keep_weights: bool) -> None:
        super().__init__()
        assert hybrid.config.attention_span >= history
        self.hybrid = hybrid
        self.keep_weights = keep_weights
        self.causal_1TT: Tensor
        self.register_buffer("causal_1TT", torch.ones(1, history, history, dtype=torch.bool).tril())

    def forward(self, x_NTF: Tensor, last_N: Tensor) -> Tensor:
        """logits_NH."""
        hybrid = self.hybrid
        x_NTF = hybrid.scaling(x_NTF)
        h_NTD, _ = hybrid.expanding(x_NTF)
        attended_NTD = self._attend(h_NTD)
        self_NTD = hybrid.self_norm(h_NTD + hybrid.dropout(attended_NTD))
        self_N1D = at(self_NTD, last_N)[:, None]
        cross_N1D = hybrid.cross_attention(self_N1D, self._window_states(x_NTF, last_N))
        fused_N1D = hybrid.cross_norm(self_N1D + hybrid.dropout(cross_N1D))
        logits_N1H: Tensor = hybrid.heads(hybrid.fusion(torch.cat([self_N1D, fused_N1D], dim=-1)))
        return logits_N1H[:, 0]

    def _attend(self, h_NTD: Tensor) -> Tensor:
        attention = self.hybrid.self_attention
        if not self.keep_weights:
            fused: Tensor = attention(h_NTD, h_NTD, self.causal_1TT)
            return fused
        _, _, values = attention.project(h_NTD, h_NTD)
        mixed = attention.weights(h_NTD, h_NTD, self.causal_1TT) @ values
        attended: Tensor = attention.out(mixed.transpose(1, 2).flatten(2))
        return attended

    def _window_states(self, x_NTF: Tensor, last_N: Tensor) -> Tensor:
        """states_NSD."""
        states = []
        for window, encoder in zip(self.hybrid.config.windows, self.hybrid.window_encoders, strict=True):
            assert isinstance(encoder, WindowEncoder)
            first_N = first_minutes(last_N, window, encoder.stride)
            h_NWD, _ = encoder.lstm(cut_windows(x_NTF, first_N, last_N, window))
            states.append(at(h_NWD, last_N - first_N))
        dropped_NSD: Tensor = self.hybrid.dropout(torch.stack(states, dim=1))
        return dropped_NSD + self.hybrid.window_embedding_SD


def cut_windows(x_NTF: Tensor, first_N: Tensor, last_N: Tensor, window: int) -> Tensor:
    """x_NWF: each sample's minutes first..last, padded after them to the length of the window."""
    samples = zip(x_NTF, first_N.tolist(), last_N.tolist(), strict=True)
    pieces = [x_TF[first : last + 1] for x_TF, first, last in samples]
    return torch.stack([F.pad(piece, (0, 0, 0, window - len(piece))) for piece in pieces])


def at(x_NTD: Tensor, minute_N: Tensor) -> Tensor:
    """x_ND: each sample's row at its minute."""
    return x_NTD[torch.arange(len(x_NTD)), minute_N]
