"""How a training goes on whose worker was lost: from its checkpoint, and with a smaller micro-batch if memory ran out.

Want of memory costs a worker only where the kernel kills the process, or where the remains of earlier attempts fill it.
An allocation that is merely refused costs none: models.training.micro_batch handles it in the worker.
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from ray.tune.experiment import Trial

from hybridtune.models.training.config import TrainConfig
from hybridtune.models.training.micro_batch import is_out_of_memory
from hybridtune.search.run.trial_report import Progressed, TrialReport
from hybridtune.search.workers.failures import refuse_full_disk
from hybridtune.search.workers.tasks import TrainingTask

RETRIES = 2
"""How often a training may lose its worker without getting any further before it counts as failed."""
SHRINK = 8
"""A killed worker cannot say what would have fitted, and there are few retries to find out."""

VMSTAT = Path("/proc/vmstat")
COLOURS = re.compile(r"\x1b\[\d+m")


class Retry(NamedTuple):
    micro_batch: int
    words: str
    """What happened, for people."""


class Retries:
    """Decides whether a training is tried again, and how. A training keeps its name through its attempts."""

    def __init__(self) -> None:
        self._kills = memory_kills()
        self._furthest: Counter[str] = Counter()
        self._in_vain: Counter[str] = Counter()
        self._errors: dict[str, str] = {}
        """What the last attempt raised. The same once more, from the same checkpoint, would be raised for ever."""

    def inspect(self, name: str, iteration: int) -> None:
        """A training that got further than ever has not lost its worker in vain: it has all its retries again."""
        if iteration > self._furthest[name]:
            self._furthest[name] = iteration
            self._in_vain[name] = 0
            self._errors.pop(name, None)

    def after(
        self, task: TrainingTask, last: TrialReport | None, failure: str, micro_batch: int | None
    ) -> Retry | None:
        """The attempt that follows one that has lost its worker; None if it was the last.

        last: what that attempt reported last. failure: how its worker ended, as `last_failure` says. micro_batch: of
        the run's settings. Raises DiskFullError if that was want of space, as the next attempt would not find any
        either.
        """
        refuse_full_disk(failure)
        name = task.name
        self._in_vain[name] += 1
        error, before = raised(failure), self._errors.pop(name, None)
        if self._in_vain[name] > RETRIES or (error is not None and error == before):
            return None
        anchors = attempted(task, last, micro_batch)
        kills, self._kills = self._kills, memory_kills()
        if self._kills > kills or is_out_of_memory(RuntimeError(failure)):
            anchors = smaller(anchors, last_attempt=self._in_vain[name] == RETRIES)
            return Retry(
                anchors,
                f"lost its worker for want of memory and goes on from its last checkpoint, {anchors} anchors at a time",
            )
        if error is not None:
            self._errors[name] = error
            return Retry(anchors, f"failed ({error}) and is tried once more from its last checkpoint")
        return Retry(anchors, "lost its worker and goes on from its last checkpoint")


def last_failure(trial: Trial) -> str:
    """How the last worker ended: its exception with the traceback, or Ray's words for one that just vanished.

    From Tune's own file, which holds the ends of all: `get_error` looks at a copy that comes later.
    """
    text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    return COLOURS.sub("", text.rpartition("Failure # ")[2]).strip()


def raised(failure: str) -> str | None:
    """The exception's line, where a worker ended by one."""
    return failure.splitlines()[-1].strip() if '  File "' in failure else None


def attempted(task: TrainingTask, last: TrialReport | None, micro_batch: int | None) -> int:
    """The micro-batch that the lost worker began with, or the one that it had come down to."""
    begun = int(task.micro_batch or micro_batch or task.params.get("batch_size", TrainConfig.batch_size))
    return min(begun, last.progress.micro_batch) if isinstance(last, Progressed) else begun


def smaller(anchors: int, last_attempt: bool) -> int:
    return 1 if last_attempt else max(1, anchors // SHRINK)


def memory_kills() -> int:
    """How many processes of this machine the kernel has killed for want of memory; 0 where it does not say (it is
    Linux that does).
    """
    counters = VMSTAT.read_text(encoding="ascii").split("\n") if VMSTAT.exists() else []
    return next((int(line.split()[1]) for line in counters if line.startswith("oom_kill ")), 0)
