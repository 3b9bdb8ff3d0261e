"""The Ray that the stages of a run share: our own on this machine, or a cluster that was joined."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol, Self

from hybridtune.data.schema import InputError
from hybridtune.models.device import pick, pick_device
from hybridtune.search.cluster.hosts import common_precision, hardware_problem, usable
from hybridtune.search.cluster.joined_ray import joined_ray
from hybridtune.search.cluster.local_ray import local_ray
from hybridtune.search.cluster.maps import cores
from hybridtune.search.run.place import Place
from hybridtune.search.run.settings import Settings


class Workers(Protocol):
    @property
    def other_hosts(self) -> bool:
        """Whether a trial may run on another host than this."""

    def fit(self, settings: Settings) -> Settings:
        """Settings under which all trials run alike. Raises InputError for hardware that is asked for and not there."""

    def trials_at_once(self, gpus_per_trial: float) -> int:
        """How many there is room for."""

    def refuse_unreachable(self, place: Place) -> None:
        """Raises InputError naming a host from which `place` is not reached."""

    def start(self, concurrent: int) -> None:
        """For the first stage that needs them; they end with the block."""


@contextmanager
def workers_at(address: str | None) -> Iterator[Workers]:
    """On this machine, or on the Ray cluster at `address`. Raises InputError if it cannot be joined or used."""
    if address is None:
        with OwnWorkers() as own:
            yield own
        return
    with joined_ray(address):
        yield JoinedWorkers()


class OwnWorkers:
    """A Ray of our own: started for the first stage that needs it, ended with the block."""

    other_hosts = False

    def __init__(self) -> None:
        self._running: ExitStack | None = None

    def fit(self, settings: Settings) -> Settings:
        _refuse_missing_gpus(settings.gpus_per_trial)
        pick(settings.hardware)
        return settings

    def trials_at_once(self, gpus_per_trial: float) -> int:  # noqa: ARG002
        # Where they share few GPUs, Ray lets the others wait.
        return cores()

    def refuse_unreachable(self, place: Place) -> None:
        """It was made by this very host."""

    def start(self, concurrent: int) -> None:
        if self._running is None:
            self._running = ExitStack()
            self._running.enter_context(local_ray(concurrent))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._running is not None:
            self._running.close()


class JoinedWorkers:
    """The hosts of the joined cluster, asked when they are first needed."""

    other_hosts = True

    def __init__(self) -> None:
        from hybridtune.search.cluster import probe

        self._probe = probe
        self._hosts = probe.hosts()

    def fit(self, settings: Settings) -> Settings:
        device, gpus = settings.device, settings.gpus_per_trial
        pick_device(device, gpus > 0)
        hosts = usable(self._hosts, gpus)
        self._probe.refuse_other_installations(hosts)
        hardware = self._probe.hardware_of(hosts)
        for host, has in hardware.items():
            problem = hardware_problem(host, has, device, gpus)
            if problem is not None:
                raise InputError(f"{host}: {problem}")
        self._hosts = hosts
        return settings.model_copy(update={"precision": common_precision(hardware, settings.precision, device, gpus)})

    def trials_at_once(self, gpus_per_trial: float) -> int:
        return sum(host.trials(gpus_per_trial) for host in self._hosts)

    def refuse_unreachable(self, place: Place) -> None:
        self._probe.refuse_unreachable(self._hosts, place)

    def start(self, concurrent: int) -> None:
        """They run already."""


def _refuse_missing_gpus(gpus_per_trial: float) -> None:
    """Raises InputError if a trial would wait for ever for GPUs that are not there."""
    import torch

    there = torch.cuda.device_count()
    if gpus_per_trial > there:
        raise InputError(
            f"gpus-per-trial is {gpus_per_trial:g}, this machine has {there} GPUs: ask for fewer, or 0 for the CPU"
        )
