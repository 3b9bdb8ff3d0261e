"""Binary cross-entropy over the known labels, plain, weighted by class or focal.

Shapes: M series, K anchors, H horizons.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from hybridtune.data.schema import InputError
from hybridtune.data.store import Dataset
from hybridtune.models.training.config import ClassWeights, LossName

FOCAL_GAMMA: Final = 2.0
"""The paper's best (Lin et al. 2017, section 5.1)."""


@dataclass(frozen=True)
class Loss:
    """What is summed over the labels. A label below 0 is unknown and counts nowhere."""

    name: LossName
    positive_H: tuple[float, ...] | None
    """Weight of label 1 (up) at each horizon; label 0 weighs one. None: both weigh one."""
    horizon_H: tuple[float, ...] | None = None
    """Weight of each horizon's labels. None: each weighs one."""

    def summed(self, logits_MKH: Tensor, y_MKH: Tensor) -> Tensor:
        # Nothing is picked out by what is known: to count it a GPU would be waited for.
        logits, y = logits_MKH.float(), y_MKH.clamp(min=0).float()
        positive_H = None if self.positive_H is None else _tensor(self.positive_H, logits.device)
        if positive_H is not None:
            # Weights move the logits of a fit by their logarithm. Added here, it is not learnt: the model's own logits
            # stay those of the probabilities by which it is scored.
            logits = logits + positive_H.log()
        entropy = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
        if self.name == "focal":
            # exp(-entropy) is the probability that was given to what happened (Lin et al. 2017, equation 4).
            entropy = (1 - torch.exp(-entropy)) ** FOCAL_GAMMA * entropy
        if positive_H is not None:
            entropy = torch.where(y > 0, positive_H, 1.0) * entropy
        if self.horizon_H is not None:
            entropy = _tensor(self.horizon_H, logits.device) * entropy
        return torch.where(y_MKH >= 0, entropy, 0.0).sum()


@cache
def _tensor(value_H: tuple[float, ...], device: torch.device) -> Tensor:
    """Brought to a device once."""
    return torch.tensor(value_H, device=device)


def make_loss(name: LossName, class_weights: ClassWeights, dataset: Dataset) -> Loss:
    """Every horizon weighs as much as the others, as in the metrics, though fewer labels of the longer ones are known.
    `auto` gives both labels of the train slice the same sum of weights at each horizon.
    """
    horizons = dataset.info.horizons
    known_H = dataset.info.slices["train"].known_labels
    horizon_H = tuple(sum(known_H) / (len(known_H) * known) for known in known_H)
    if class_weights == "auto":
        # A horizon at which train knows one class only has nothing to balance.
        up_H = [share if 0 < share < 1 else 0.5 for share in dataset.info.slices["train"].up_share]
        return Loss(name, tuple((1 - up) / up for up in up_H), horizon_H)
    if class_weights == "none":
        return Loss(name, None, horizon_H)
    if len(class_weights) != len(horizons):
        raise InputError(
            f"class_weights must be one weight for each of the {len(horizons)} horizons {horizons}, got {class_weights}"
        )
    return Loss(name, class_weights, horizon_H)
