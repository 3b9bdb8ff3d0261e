"""TensorBoard's view of a trial: one event file for each of its lives, written as its reports come."""

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import hparams, scalar

from hybridtune.spaces.parameters import Config

FINAL = "final_objective"
METRICS = (FINAL, "tune_loss", "tune_auc")
"""What the HParams tab shows beside the parameters: the last of each."""


class EventFile:
    """tensorboardX's SummaryWriter would write from a thread of its own, which ends silently where the disk is full;
    who hands it events then waits for ever.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.write_event(Event(wall_time=time.time(), step=iteration, summary=scalar(name, value)))
        self._writer.flush()

    def add_result(self, iteration: int, params: Config, reference: Config, objective: float | None) -> None:
        """Makes the trial a row of the HParams tab.

        reference: with every dimension of the space, as the tab has a column for those that the first file names.
        objective: None for a trial that has none.
        """
        metrics = dict.fromkeys(METRICS)
        columns, _, _ = hparams(reference, metrics)
        _, row, end = hparams(params, metrics)
        for summary in (columns, row, end):
            self._writer.write_event(Event(wall_time=time.time(), summary=summary))
        if objective is not None:
            self.add(iteration, {FINAL: objective})
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
