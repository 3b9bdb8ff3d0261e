"""The checkpoint of one training: whole or not there, and never taken for another training's."""

import io
from dataclasses import dataclass

import torch

from hybridtune.models.training.fit import AnyTraining
from hybridtune.search.run.place import Place

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Checkpoint:
    """Where it lies, and whose it is."""

    place: Place
    folder: str
    """The name of the training's part of the run."""
    identity: str
    """Of the training."""

    def load(self, training: AnyTraining) -> bool:
        """Whether the training goes on from a checkpoint. One of another training is left unread: in a study that was
        put back from its copy, a trial may have the number of one that left its checkpoint here.
        """
        content = self.place.read(self._name)
        if content is None:
            return False
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if saved.get("identity") != self.identity:
            return False
        training.load_state(saved["training"])
        return True

    def save(self, training: AnyTraining) -> None:
        buffer = io.BytesIO()
        torch.save({"identity": self.identity, "training": training.state()}, buffer)
        self.place.write(self._name, buffer.getvalue())

    def remove(self) -> None:
        self.place.remove(self._name)

    @property
    def _name(self) -> str:
        return f"{self.folder}/{CHECKPOINT}"
