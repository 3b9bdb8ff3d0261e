"""TensorBoard's view of a trial: one event file for each of its lives, written as its reports come."""

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar


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

    def close(self) -> None:
        self._writer.close()
