"""What the steps of an iteration came to, read from the device now and then: to read it it has to finish its work."""

import math

import torch
from torch import Tensor

STEPS_BETWEEN_LOOKS = 32


class Steps:
    """Losses and gradient norms."""

    def __init__(self) -> None:
        self._unseen: list[tuple[int, list[Tensor], Tensor]] = []
        self._anchors, self._total = 0, 0.0

    def add(self, anchors: int, losses: list[Tensor], norm: Tensor) -> None:
        """losses: the shares of a batch's parts in its mean loss."""
        self._unseen.append((anchors, losses, norm))

    @property
    def due(self) -> bool:
        return len(self._unseen) >= STEPS_BETWEEN_LOOKS

    def look(self) -> tuple[float, float] | None:
        """Reads what was added since the last look: loss and norm of the first step at which one is not finite."""
        bad = None
        norms = torch.stack([norm for _, _, norm in self._unseen]).tolist()
        values = iter(torch.stack([loss for _, losses, _ in self._unseen for loss in losses]).tolist())
        for (anchors, losses, _), norm in zip(self._unseen, norms, strict=True):
            loss = sum(next(values) for _ in losses)
            if bad is None and not (math.isfinite(loss) and math.isfinite(norm)):
                bad = loss, norm
            self._anchors += anchors
            self._total += anchors * loss
        self._unseen = []
        return bad

    def mean_loss(self) -> float:
        """Over the anchors of all steps that were looked at."""
        return self._total / self._anchors
