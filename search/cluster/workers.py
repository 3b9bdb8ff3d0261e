"""The Ray that the stages of a run share: our own on this machine, or a cluster that was joined."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Thread
from typing import Protocol, Self

from hybridtune.data.schema import InputError
from hybridtune.models.device import pick, pick_device
from hybridtune.search.cluster.hosts import Hardware, Host, common_precision, hardware_problem, usable
from hybridtune.search.cluster.joined_ray import joined_ray
from hybridtune.search.cluster.local_ray import local_ray
from hybridtune.search.cluster.maps import cores
from hybridtune.search.cluster.memory import MemoryWatch, memory_kills
from hybridtune.search.run.place import Place
from hybridtune.search.run.say import Say
from hybridtune.search.run.settings import Settings

LOOK_SECONDS = 3.0
"""Between two looks at which hosts there are."""


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

    def memory_ran_out(self, host: str | None) -> bool:
        """Whether the kernel of the host, or of any if it is not known, has killed for want of memory since this was
        last asked.
        """

    def look_around(self, say: Say) -> None:
        """Takes in hosts that have joined. Called about once a second, and returns at once."""

    def avoided(self) -> frozenset[str]:
        """Ray's names of the hosts that must not be used."""


def at_once(settings: Settings, workers: Workers) -> int:
    """How many trainings run at a time; one waits for a host where there is none left."""
    return settings.concurrent or max(1, workers.trials_at_once(settings.gpus_per_trial))


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
        self._memory = MemoryWatch(lambda host: {"": memory_kills()})

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

    def memory_ran_out(self, host: str | None) -> bool:
        return self._memory.rose(host)

    def look_around(self, say: Say) -> None:
        """No other host joins."""

    def avoided(self) -> frozenset[str]:
        return frozenset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._running is not None:
            self._running.close()


class JoinedWorkers:
    """The hosts of the joined cluster: each is asked before a trial may run there, when it is there from the beginning
    and when it joins.
    """

    other_hosts = True

    def __init__(self) -> None:
        from hybridtune.search.cluster import probe

        self._probe = probe
        self._settings: Settings | None = None
        self._place: Place | None = None
        self._usable: dict[str, Host] = {}
        """By Ray's name of it."""
        self._avoided: frozenset[str] = frozenset()
        self._asking: dict[Host, Future[None]] = {}
        self._looked = time.monotonic()
        self._memory: MemoryWatch | None = None

    def fit(self, settings: Settings) -> Settings:
        hosts = usable(self._probe.hosts(), settings.gpus_per_trial)
        hardware = self._installed(hosts, settings)
        gpus = settings.gpus_per_trial
        precision = common_precision(hardware, settings.precision, settings.device, gpus)
        self._usable = {host.node: host for host in hosts}
        self._settings = settings.model_copy(update={"precision": precision})
        return self._settings

    def _installed(self, hosts: Sequence[Host], settings: Settings) -> dict[Host, Hardware]:
        """Raises InputError naming a host that cannot train under the settings."""
        device, gpus = settings.device, settings.gpus_per_trial
        pick_device(device, gpus > 0)
        self._probe.refuse_other_installations(hosts)
        hardware = self._probe.hardware_of(hosts)
        for host, has in hardware.items():
            problem = hardware_problem(host, has, device, gpus)
            if problem is not None:
                raise InputError(f"{host}: {problem}")
        return hardware

    def trials_at_once(self, gpus_per_trial: float) -> int:
        return sum(host.trials(gpus_per_trial) for host in self._usable.values())

    def refuse_unreachable(self, place: Place) -> None:
        self._place = place
        self._probe.refuse_unreachable(list(self._usable.values()), place)

    def start(self, concurrent: int) -> None:  # noqa: ARG002 they run already
        if self._memory is None:
            self._memory = MemoryWatch(self._memory_kills)

    def memory_ran_out(self, host: str | None) -> bool:
        assert self._memory is not None
        return self._memory.rose(host)

    def _memory_kills(self, address: str | None) -> dict[str, int]:
        hosts = self._usable.values()
        return self._probe.kills_of([host for host in hosts if address in (None, host.address)])

    def look_around(self, say: Say) -> None:
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._see(self._probe.hosts(), say)
        for host in [host for host, answer in self._asking.items() if answer.done()]:
            try:
                self._asking.pop(host).result()
            except InputError as error:
                self._avoided |= {host.node}
                say(f"no trial will run on a host that has joined: {error}")
            else:
                self._usable[host.node] = host
                say(f"{host} has joined: {self._room(host)} more at a time")

    def _see(self, hosts: Sequence[Host], say: Say) -> None:
        alive = {host.node: host for host in hosts}
        for node in [node for node in self._usable if node not in alive]:
            say(f"{self._usable.pop(node)} is gone")
        known = {*self._usable, *self._avoided, *(host.node for host in self._asking)}
        for host in hosts:
            if host.node not in known and self._room(host) > 0:
                self._asking[host] = in_background(partial(self._admit, host))

    def _admit(self, host: Host) -> None:
        """As those were that were there from the beginning."""
        assert self._settings is not None
        assert self._place is not None
        settings = self._settings
        hardware = self._installed([host], settings)
        common_precision(hardware, settings.precision, settings.device, settings.gpus_per_trial)
        self._probe.refuse_unreachable([host], self._place)

    def _room(self, host: Host) -> int:
        assert self._settings is not None
        return host.trials(self._settings.gpus_per_trial)

    def avoided(self) -> frozenset[str]:
        return self._avoided


def in_background(work: Callable[[], None]) -> Future[None]:
    """In a thread that holds nobody up who wants to leave."""
    answer: Future[None] = Future()

    def run() -> None:
        try:
            work()
            answer.set_result(None)
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=run, daemon=True).start()
    return answer


def _refuse_missing_gpus(gpus_per_trial: float) -> None:
    """Raises InputError if a trial would wait for ever for GPUs that are not there."""
    import torch

    there = torch.cuda.device_count()
    if gpus_per_trial > there:
        raise InputError(
            f"gpus-per-trial is {gpus_per_trial:g}, this machine has {there} GPUs: ask for fewer, or 0 for the CPU"
        )
