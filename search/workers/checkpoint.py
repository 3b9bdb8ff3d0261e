"""The checkpoint of one training: whole or not there, and never taken for another training's."""

import io
from dataclasses import dataclass

import torch

from hybridtune.models.training.fit import AnyTraining
from hybridtune.search.run.place import Place

PREFIX = "checkpoint-"


@dataclass(frozen=True)
class Attempt:
    """One worker's try at a training. What is known of it tells a try that was given up from the one that followed."""

    epoch: int
    """Which of the drivers that worked on the run one after another started it."""
    number: int
    """Ascending in an epoch."""


@dataclass(frozen=True)
class Checkpoint:
    """One attempt's own. A host whose link was cut may still be training when its training has long been handed to
    another; what it writes then bears the name of its attempt, and hurts nobody.
    """

    place: Place
    folder: str
    """The name of the training's part of the run."""
    identity: str
    """Of the training. In a study that was put back from its copy, a trial may have the number of another one, which
    left its checkpoint here.
    """
    attempt: Attempt

    def load(self, training: AnyTraining) -> bool:
        """Whether the training goes on from what it, or the latest attempt before, left. That is then its own, and
        what earlier attempts left is removed. What a later one wrote is left alone: this one is given up already.
        """
        earlier = [name for name in checkpoints(self.place, self.folder) if _order(name) <= _order(self._name)]
        mine = [name for name in earlier if name.startswith(self._prefix)]
        content = self.place.read(mine[-1]) if mine else None
        if content is None:
            return False
        training.load_state(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        if mine[-1] != self._name:
            # What the given-up attempt may still write to its own is never read again.
            self.place.write(self._name, content)
        for name in earlier:
            if name != self._name:
                self.place.remove(name)
        return True

    def save(self, training: AnyTraining) -> None:
        buffer = io.BytesIO()
        torch.save(training.state(), buffer)
        self.place.write(self._name, buffer.getvalue())

    @property
    def _prefix(self) -> str:
        return f"{self.folder}/{PREFIX}{self.identity}-"

    @property
    def _name(self) -> str:
        # As many digits as sort rightly.
        return f"{self._prefix}{self.attempt.epoch:06d}-{self.attempt.number:06d}.pt"


def _order(name: str) -> list[str]:
    """Epoch and number of the attempt whose checkpoint it is."""
    return name.removesuffix(".pt").split("-")[-2:]


def checkpoints(place: Place, folder: str) -> list[str]:
    """Names of all that attempts left below `folder`, the latest of each training last."""
    return [name for name in place.names(folder) if name.rpartition("/")[2].startswith(PREFIX)]


def remove_checkpoints(place: Place, folder: str, epoch: int) -> None:
    """Of all attempts that drivers up to `epoch` started: those of a later one go on from theirs."""
    for name in checkpoints(place, folder):
        if int(_order(name)[0]) <= epoch:
            place.remove(name)
