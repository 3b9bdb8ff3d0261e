"""The Ray that the stages of a run share: our own on this machine, or a cluster that was joined."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Protocol, Self

from hybridtune.data.schema import InputError
from hybridtune.models.device import pick
from hybridtune.models.first_step import refuse_untrainable
from hybridtune.search.cluster.hosts import room_on_gpus
from hybridtune.search.cluster.joined_ray import joined_ray
from hybridtune.search.cluster.local_ray import local_ray
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.search.cluster.memory import MemoryWatch, memory_kills
from hybridtune.search.run.place import Place
from hybridtune.search.run.say import Say
from hybridtune.search.run.settings import Settings


class Workers(Protocol):
    @property
    def other_hosts(self) -> bool:
        """Whether a trial may run on another host than this."""

    def fit(self, settings: Settings) -> Settings:
        """Settings under which all trials run alike. Raises InputError for hardware that is asked for and not there."""

    def at_once(self, settings: Settings) -> int:
        """How many trainings run at a time, which may change."""

    def most_on_a_gpu(self, settings: Settings) -> int:
        """How many trainings every host has cores for beside each of its GPUs, and the settings let run at a time."""

    def refuse_unreachable(self, place: Place) -> None:
        """Raises InputError naming a host from which `place` is not reached."""

    def start(self, concurrent: int) -> None:
        """For the first stage that needs them; they end with the block."""

    def memory_ran_out(self, host: str | None) -> bool:
        """Whether the kernel of the host, or of any if it is not known, has killed for want of memory since this was
        last asked.
        """

    def look_around(self, wanted: int) -> None:
        """Takes in hosts that have joined, and sees to it that enough are started. wanted: the trainings that have not
        ended. Called about once a second, and returns at once.
        """

    def avoided(self) -> frozenset[str]:
        """Ray's names of the hosts that must not be used."""

    def watched(self, leave: Callable[[str], str]) -> AbstractContextManager[None]:
        """In the block, ends this process with status 1 if Ray is lost for good, and a new process has to go on.

        leave: called before that, in another thread, with what happened; returns the last line for people.
        """


@contextmanager
def workers_at(address: str | None, say: Say) -> Iterator[Workers]:
    """On this machine, or on the Ray cluster at `address`. Raises InputError if it cannot be joined or used."""
    if address is None:
        with OwnWorkers() as own:
            yield own
        return
    from hybridtune.search.cluster.joined_workers import JoinedWorkers

    with joined_ray(address) as head:
        yield JoinedWorkers(head, say)


class OwnWorkers:
    """A Ray of our own: started for the first stage that needs it, ended with the block."""

    other_hosts = False

    def __init__(self) -> None:
        self._running: ExitStack | None = None
        self._memory = MemoryWatch(lambda host: {"": memory_kills()})

    def fit(self, settings: Settings) -> Settings:
        _refuse_missing_gpus(settings.gpus_per_trial)
        device, precision = pick(settings.hardware)
        if device.type == "cuda":
            # This process would hold a part of the card for the whole search, or all of one that takes one process.
            with process_map(1) as elsewhere:
                list(elsewhere(partial(refuse_untrainable, device), [precision]))
        else:
            refuse_untrainable(device, precision)
        return settings

    def at_once(self, settings: Settings) -> int:
        # More would be drawn all the same, before anything is known, and wait for a GPU.
        return int(min(settings.concurrent or cores(), room_on_gpus(_gpus(), settings.gpus_per_trial)))

    def most_on_a_gpu(self, settings: Settings) -> int:
        return min(cores() // max(1, _gpus()), settings.concurrent or cores())

    def refuse_unreachable(self, place: Place) -> None:
        """It was made by this very host."""

    def start(self, concurrent: int) -> None:
        if self._running is None:
            self._running = ExitStack()
            self._running.enter_context(local_ray(concurrent))

    def memory_ran_out(self, host: str | None) -> bool:
        return self._memory.rose(host)

    def look_around(self, wanted: int) -> None:
        """No other host joins."""

    def avoided(self) -> frozenset[str]:
        return frozenset()

    def watched(self, leave: Callable[[str], str]) -> AbstractContextManager[None]:  # noqa: ARG002
        # Our own Ray lives and dies with this process.
        return nullcontext()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._running is not None:
            self._running.close()


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _refuse_missing_gpus(gpus_per_trial: float) -> None:
    """Raises InputError if a trial would wait for ever for GPUs that are not there."""
    there = _gpus()
    if gpus_per_trial > there:
        raise InputError(
            f"gpus-per-trial is {gpus_per_trial:g}, this machine has {there} GPUs: ask for fewer, or 0 for the CPU"
        )
