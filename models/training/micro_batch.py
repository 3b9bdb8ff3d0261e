"""A batch in parts, so that it fits into memory. Needs torch and numpy alone.

Gradients of the parts add up to those of the whole, so the optimiser's step does not depend on how a batch is cut,
but for rounding and for which values dropout drops.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from hybridtune.data.batches import Batch, padded_minutes
from hybridtune.models.device import free_memory

T = TypeVar("T")

OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    # oneDNN's two words for scratch memory that it did not get.
    "could not create a primitive",
    "could not execute a primitive",
    # CUDA's libraries, where the card is full of what PyTorch does not count: contexts, other programs.
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
"""Of messages. Torch has no type for the host's memory."""

logger = logging.getLogger(__name__)


class MicroBatch:
    """How many anchors go through the model at once. Halves itself when memory runs out."""

    def __init__(self, anchors: int) -> None:
        assert anchors >= 1
        self.anchors = anchors

    def run(self, batch: Batch, work: Callable[[list[Batch]], T]) -> T:
        """What `work` makes of the parts of the batch. If memory runs out it starts again with parts half as large;
        it must begin by forgetting what an earlier attempt left. Raises what it raised at one anchor.
        """
        while True:
            try:
                return work(split(batch, self.anchors))
            except (RuntimeError, MemoryError) as error:
                if self.anchors == 1 or not is_out_of_memory(error):
                    raise
            # After the handler, not in it: there the error's traceback still holds the tensors of the attempt.
            free_memory()
            self.anchors = max(1, min(self.anchors, int(batch.valid_MK.sum())) // 2)
            logger.warning("out of memory: micro-batch lowered to %d anchors", self.anchors)


def split(batch: Batch, anchors: int) -> list[Batch]:
    """Parts of at most so many anchors, in order: whole series where they fit, else pieces of one."""
    parts: list[Batch] = []
    rows: list[int] = []
    held = 0
    for row, count in enumerate(batch.valid_MK.sum(axis=1).tolist()):
        if held + count > anchors and rows:
            parts.append(_rows(batch, rows))
            rows, held = [], 0
        if count > anchors:
            parts += [_piece(batch, row, first, min(first + anchors, count)) for first in range(0, count, anchors)]
        else:
            rows.append(row)
            held += count
    return [*parts, _rows(batch, rows)] if rows else parts


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the GPU's or the host's memory could not be had."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in OUT_OF_MEMORY)


def _rows(batch: Batch, rows: list[int]) -> Batch:
    if len(rows) == len(batch.length_M):
        return batch
    minutes, widest = padded_minutes(batch.length_M[rows].max()), batch.valid_MK[rows].sum(axis=1).max()
    return Batch(
        x_MTF=batch.x_MTF[rows, :minutes],
        length_M=batch.length_M[rows],
        anchor_MK=batch.anchor_MK[rows, :widest],
        y_MKH=batch.y_MKH[rows, :widest],
        valid_MK=batch.valid_MK[rows, :widest],
    )


def _piece(batch: Batch, row: int, first: int, end: int) -> Batch:
    """Some anchors of one series; bars after the last of them are left out."""
    length = int(batch.anchor_MK[row, end - 1]) + 1
    return Batch(
        x_MTF=batch.x_MTF[row : row + 1, : padded_minutes(length)],
        length_M=np.array([length]),
        anchor_MK=batch.anchor_MK[row : row + 1, first:end],
        y_MKH=batch.y_MKH[row : row + 1, first:end],
        valid_MK=batch.valid_MK[row : row + 1, first:end],
    )
