"""How a training goes on whose worker was lost: from its checkpoint, and with a smaller micro-batch if memory ran out.

That costs a worker where the kernel kills it, or where what earlier attempts left behind fills the process; memory that
is merely refused does not: models.micro_batch.
"""

import re
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial

from models.fit import TrainConfig
from models.micro_batch import is_out_of_memory
from search.storage import refuse_full_disk

RETRIES = 2
"""How often a training may lose its worker without getting any further before it counts as failed."""
SHRINK = 8
"""A killed worker cannot say what would have fitted, and there are few retries to find out."""

VMSTAT = Path("/proc/vmstat")
COLOURS = re.compile(r"\x1b\[\d+m")


class Retries:
    """Prepares the next attempt of a training: its `micro_batch` in Tune's configuration of it."""

    def __init__(self) -> None:
        self._kills = memory_kills()
        self._furthest: dict[str, int] = {}

    def look(self, trial: Trial, iteration: int) -> None:
        """A training that got further than ever has not lost its worker in vain: it has all its retries again."""
        if iteration > self._furthest.get(trial.trial_id, 0):
            self._furthest[trial.trial_id] = iteration
            trial.run_metadata.num_failures = 0

    def prepare(self, trial: Trial, flat: dict[str, Any], asked: int | None) -> str:
        """What happened, for people. Raises DiskFullError if that was want of space, as the next attempt would not
        find any either.
        """
        refuse_full_disk(last_failure(trial))
        anchors = attempted(trial, flat, asked)
        before, self._kills = self._kills, memory_kills()
        if self._kills > before or is_out_of_memory(RuntimeError(last_failure(trial))):
            anchors = smaller(anchors, last_attempt=trial.num_failures >= RETRIES)
            trial.config["micro_batch"] = anchors
            return (
                f"lost its worker for want of memory and goes on from its last checkpoint, {anchors} anchors at a time"
            )
        trial.config["micro_batch"] = anchors
        return "lost its worker and goes on from its last checkpoint"


def last_failure(trial: Trial) -> str:
    """How the last worker ended: its exception with the traceback, or Ray's words for one that just vanished.

    From Tune's own file, which holds the ends of all: `get_error` looks at a copy that comes later.
    """
    text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    return COLOURS.sub("", text.rpartition("Failure # ")[2]).strip()


def raised(failure: str) -> str | None:
    """The exception's line, where a worker ended by one."""
    return failure.splitlines()[-1].strip() if '  File "' in failure else None


def attempted(trial: Trial, flat: dict[str, Any], asked: int | None) -> int:
    """The micro-batch that the lost worker began with, or the one that it had come down to."""
    begun = trial.config["micro_batch"] or asked or flat.get("batch_size", TrainConfig.batch_size)
    return min(int(begun), int((trial.last_result or {}).get("micro_batch", begun)))


def smaller(anchors: int, last_attempt: bool) -> int:
    return 1 if last_attempt else max(1, anchors // SHRINK)


def memory_kills() -> int:
    """How many processes of this machine the kernel has killed for want of memory; 0 where it does not say (it is
    Linux that does).
    """
    counters = VMSTAT.read_text(encoding="ascii").split("\n") if VMSTAT.exists() else []
    return next((int(line.split()[1]) for line in counters if line.startswith("oom_kill ")), 0)
