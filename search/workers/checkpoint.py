"""The checkpoint of one training: whole or not there, and never taken for another training's."""

import io
from dataclasses import dataclass
from pathlib import Path

import torch

from hybridtune.data.document import TEMPORARY, write_atomically
from hybridtune.models.training.fit import AnyTraining

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Checkpoint:
    """Where it lies, and whose it is."""

    folder: Path
    identity: str
    """Of the training."""

    def load(self, training: AnyTraining) -> bool:
        """Whether the training goes on from a checkpoint. One of another training is left unread: in a study that was
        put back from its copy, a trial may have the number of one that left its checkpoint here.
        """
        for left in self.folder.glob(f".{CHECKPOINT}.*{TEMPORARY}"):
            left.unlink(missing_ok=True)
        if not self._path.exists():
            return False
        saved = torch.load(self._path, map_location="cpu", weights_only=True)
        if saved.get("identity") != self.identity:
            return False
        training.load_state(saved["training"])
        return True

    def save(self, training: AnyTraining) -> None:
        buffer = io.BytesIO()
        torch.save({"identity": self.identity, "training": training.state()}, buffer)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, buffer.getvalue())

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self.folder / CHECKPOINT
