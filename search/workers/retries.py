"""How a training goes on whose worker was lost: from its checkpoint, and with a smaller micro-batch if memory ran out.

Want of memory costs a worker only where the kernel kills the process, or where the remains of earlier attempts fill it.
An allocation that is merely refused costs none: models.training.micro_batch handles it in the worker.
"""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ray.tune.experiment import Trial

from hybridtune.models.training.config import TrainConfig
from hybridtune.models.training.micro_batch import is_out_of_memory
from hybridtune.search.run.place import PlaceError
from hybridtune.search.run.trial_report import Progressed, TrialReport
from hybridtune.search.workers.failures import refuse_full_disk
from hybridtune.search.workers.tasks import Retry, TrainingTask

RETRIES = 2
"""How often a training may lose its worker without getting any further before it counts as failed."""
SHRINK = 8
"""A killed worker cannot say what would have fitted, and there are few retries to find out."""

HOST_LOST = (
    "The actor is temporarily unavailable",
    "its node has died",
    "node was preempted",
    "Failed to retrieve object",
    PlaceError.__name__,
)
"""Words of a failure for which its training is not to blame: Ray's of a host that is gone or cannot be reached, or
that did not get the dataset from the driver's, and ours of one that does not reach the run's place.
"""
HOST_LOSSES = 20
"""How often that may happen to a training without its getting any further; it may be what its hosts die of."""

GPU_FULL = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Words of PyTorch and of CUDA's libraries for a GPU, or the part of one that a process may use."""

COLOURS = re.compile(r"\x1b\[\d+m")


class Retries:
    """Decides whether a training is tried again, and how. A training keeps its name through its attempts."""

    def __init__(self, memory_ran_out: Callable[[str | None], bool], gpus_shared: bool = False) -> None:
        """memory_ran_out: whether the kernel of a host, or of any if it is not known, has killed for want of memory
        since this was last asked. gpus_shared: whether a training has only a part of a GPU.
        """
        self._memory_ran_out = memory_ran_out
        self._gpus_shared = gpus_shared
        self._furthest: Counter[str] = Counter()
        self._in_vain: Counter[str] = Counter()
        self._hosts_lost: Counter[str] = Counter()
        self._errors: dict[str, str] = {}
        """What the last attempt raised. The same once more, from the same checkpoint, would be raised for ever."""

    def inspect(self, name: str, iteration: int) -> None:
        """A training that got further than ever has not lost its worker in vain: it has all its retries again."""
        if iteration > self._furthest[name]:
            self._furthest[name] = iteration
            self._in_vain[name] = self._hosts_lost[name] = 0
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
        anchors = attempted(task, last, micro_batch)
        if any(words in failure for words in HOST_LOST):
            self._hosts_lost[name] += 1
            if self._hosts_lost[name] > HOST_LOSSES:
                return None
            return Retry(anchors, "lost its host and goes on from its last checkpoint", host_lost=True)
        if any(words in failure for words in GPU_FULL) and self._gpus_shared and not task.alone:
            words = "did not fit into its part of a GPU and goes on from its last checkpoint on a whole one"
            # What it had come down to in its part says nothing of the whole.
            return Retry(attempted(task, None, micro_batch), words, alone=True)
        self._in_vain[name] += 1
        error, before = raised(failure), self._errors.pop(name, None)
        if self._in_vain[name] > RETRIES or (error is not None and error == before):
            return None
        ran_out = self._memory_ran_out(last.host if isinstance(last, Progressed) else None)
        if ran_out or is_out_of_memory(RuntimeError(failure)):
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
    """The exception's first line, where a worker ended by one: those of CUDA end in advice to programmers."""
    if '  File "' not in failure:
        return None
    after = failure.rpartition('  File "')[2].splitlines()[1:]
    return next((line.strip() for line in after if line and not line[0].isspace()), after[-1].strip())


def attempted(task: TrainingTask, last: TrialReport | None, micro_batch: int | None) -> int:
    """The micro-batch that the lost worker began with, or the one that it had come down to."""
    begun = int(task.micro_batch or micro_batch or task.params.get("batch_size", TrainConfig.batch_size))
    return min(begun, last.progress.micro_batch) if isinstance(last, Progressed) else begun


def smaller(anchors: int, last_attempt: bool) -> int:
    return 1 if last_attempt else max(1, anchors // SHRINK)
