"""Masked binary cross-entropy."""

import torch.nn.functional as F
from torch import Tensor


def masked_cross_entropy(logits_MKH: Tensor, y_MKH: Tensor) -> Tensor:
    """Mean over the known labels (0 or 1); masked ones (below 0) count nowhere.

    Raises ValueError if none is known.
    """
    known = y_MKH >= 0
    if not bool(known.any()):
        raise ValueError("a batch without a known label has no loss")
    return F.binary_cross_entropy_with_logits(logits_MKH.float()[known], y_MKH[known].float())
