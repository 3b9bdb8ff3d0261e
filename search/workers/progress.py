"""Lines for the terminal while trainings run."""

import time

from hybridtune.models.training.config import TrainConfig
from hybridtune.search.run.say import Say
from hybridtune.search.run.trial_report import Progressed
from hybridtune.spaces.parameters import Config

HEARTBEAT_SECONDS = 15.0


class Heartbeat:
    """Now and then, a line that says where the running trainings are."""

    def __init__(self, say: Say, iterations: int) -> None:
        self._say = say
        self._iterations = iterations
        self._running: dict[str, str] = {}
        self._last = time.monotonic()

    def beat(self, name: str, iteration: int, objective: float) -> None:
        self._running[name] = f"{name} at {iteration}/{self._iterations} ({objective:.4f})"
        if time.monotonic() - self._last >= HEARTBEAT_SECONDS:
            self._last = time.monotonic()
            self._say(f"running: {', '.join(self._running.values())}")

    def forget(self, name: str) -> None:
        self._running.pop(name, None)


class HardwareLines:
    """Says once what the trainings run on, and when one ran out of memory."""

    def __init__(self, say: Say, micro_batch: int | None) -> None:
        self._say = say
        self._micro_batch = micro_batch
        self._runs_on: set[str] = set()
        self._lowered: dict[str, int] = {}

    def inspect(self, name: str, params: Config, report: Progressed) -> None:
        if report.runs_on not in self._runs_on:
            self._runs_on.add(report.runs_on)
            self._say(f"training on {report.runs_on}")
        anchors, batch = report.progress.micro_batch, int(params.get("batch_size", TrainConfig.batch_size))
        if anchors < self._lowered.get(name, min(self._micro_batch or batch, batch)):
            self._lowered[name] = anchors
            self._say(f"{name} ran out of memory: {anchors} anchors at a time now, {batch} a step as before")


def describe(params: Config) -> str:
    values = ((k, f"{v:.2g}" if isinstance(v, float) else v) for k, v in params.items())
    return ", ".join(f"{name}={value}" for name, value in values)
