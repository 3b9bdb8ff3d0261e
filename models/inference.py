"""One forward pass over a batch, in training or not. Needs torch and numpy alone."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hybridtune.data.batches import Batch
from hybridtune.models.hardware import Precision


def on_device(values: NDArray[Any], device: torch.device) -> Tensor:
    """Copied to a CUDA GPU without waiting for what it works on: that needs memory that the system never moves. Apple's
    would read what has been freed meanwhile.
    """
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def forward(model: nn.Module, batch: Batch, device: torch.device, precision: Precision) -> Tensor:
    """logits_MKH float32."""
    x_MTF, anchor_MK = (on_device(values, device) for values in (batch.x_MTF, batch.anchor_MK))
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits: Tensor = model(x_MTF, anchor_MK)
    return logits.float()


@torch.inference_mode()
def predict_batch(model: nn.Module, batch: Batch, device: torch.device, precision: Precision) -> NDArray[np.float32]:
    """p_AH: probabilities of up at the valid anchors of a batch, in their order."""
    model.eval()
    p_MKH = forward(model, batch, device, precision).sigmoid().cpu().numpy()
    return np.asarray(p_MKH[batch.valid_MK])
