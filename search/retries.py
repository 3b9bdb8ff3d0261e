"""How a training goes on whose worker was lost: from its checkpoint, and with a smaller micro-batch if memory ran out.

That costs a worker where the kernel kills it, or where what earlier attempts left behind fills the process; memory that
is merely refused does not: models.micro_batch.
"""

from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial

from models.fit import TrainConfig
from models.micro_batch import is_out_of_memory

RETRIES = 2
"""How often a training may lose its worker before it counts as failed."""
SHRINK = 8
"""A killed worker cannot say what would have fitted, and there are few retries to find out."""

VMSTAT = Path("/proc/vmstat")


class Retries:
    """Prepares the next attempt of a training: its `micro_batch` in Tune's configuration of it."""

    def __init__(self) -> None:
        self._kills = memory_kills()

    def prepare(self, trial: Trial, flat: dict[str, Any], asked: int | None) -> str:
        """What happened, for people."""
        anchors = attempted(trial, flat, asked)
        before, self._kills = self._kills, memory_kills()
        error = trial.get_error()
        if self._kills > before or (error is not None and is_out_of_memory(error)):
            anchors = smaller(anchors, last_attempt=trial.num_failures >= RETRIES)
            trial.config["micro_batch"] = anchors
            return (
                f"lost its worker for want of memory and goes on from its last checkpoint, {anchors} anchors at a time"
            )
        trial.config["micro_batch"] = anchors
        return "lost its worker and goes on from its last checkpoint"


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
