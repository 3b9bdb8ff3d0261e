"""The hosts of a cluster that was joined: which of them train, while they come and go."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial

from hybridtune.data.schema import InputError
from hybridtune.models.device import pick_device
from hybridtune.search.cluster import probe
from hybridtune.search.cluster.background import in_background
from hybridtune.search.cluster.growth import Growth
from hybridtune.search.cluster.head_watch import watching_head
from hybridtune.search.cluster.hosts import (
    Host,
    HostHardware,
    common_precision,
    hardware_problem,
    missing_room,
    usable,
)
from hybridtune.search.cluster.memory import MemoryWatch
from hybridtune.search.run.place import Place
from hybridtune.search.run.say import Say
from hybridtune.search.run.settings import Settings

LOOK_SECONDS = 3.0
"""Between two looks at which hosts there are."""


class JoinedWorkers:
    """The hosts of the joined cluster: each is asked before a trial may run there, when it is there from the beginning
    and when it joins.
    """

    other_hosts = True

    def __init__(self, head: str, say: Say) -> None:
        """head: HOST:PORT."""
        self._head = head
        self._say = say
        self._growth = Growth(head, say)
        self._settings: Settings | None = None
        self._place: Place | None = None
        self._usable: dict[str, Host] = {}
        """By Ray's name of it."""
        self._avoided: frozenset[str] = frozenset()
        self._asking: dict[Host, Future[None]] = {}
        self._silent: set[str] = set()
        """Those that have not answered, as was said."""
        self._looked = time.monotonic()
        self._memory: MemoryWatch | None = None

    def fit(self, settings: Settings) -> Settings:
        self._growth.wait_for_first(settings.gpus_per_trial)
        hosts = usable(probe.hosts(), settings.gpus_per_trial)
        hardware = self._installed(hosts, settings)
        gpus = settings.gpus_per_trial
        precision = common_precision(hardware, settings.precision, settings.device, gpus)
        self._usable = {host.node: host for host in hosts}
        self._settings = settings.model_copy(update={"precision": precision})
        return self._settings

    def _installed(self, hosts: Sequence[Host], settings: Settings) -> dict[Host, HostHardware]:
        """Raises InputError naming a host that cannot train under the settings."""
        device, gpus = settings.device, settings.gpus_per_trial
        pick_device(device, gpus > 0)
        probe.refuse_other_installations(hosts)
        hardware = probe.hardware_of(hosts)
        for host, has in hardware.items():
            problem = hardware_problem(host, has, device, gpus)
            if problem is not None:
                raise InputError(f"{host}: {problem}")
        return hardware

    def at_once(self, settings: Settings) -> int:
        # One waits for a host where there is none left.
        room = max(1, self._room(self._usable.values()))
        return min(settings.concurrent or room, room)

    def most_on_a_gpu(self, settings: Settings) -> int:
        room = min(int(host.cpus / host.gpus) for host in self._usable.values() if host.gpus > 0)
        return min(settings.concurrent or room, room)

    def refuse_unreachable(self, place: Place) -> None:
        self._place = place
        probe.refuse_unreachable(list(self._usable.values()), place)

    def start(self, concurrent: int) -> None:  # noqa: ARG002 they run already
        if self._memory is None:
            self._memory = MemoryWatch(self._memory_kills)
        # It holds the first host until here.
        self._growth.want(0, self._usable.keys())

    def memory_ran_out(self, host: str | None) -> bool:
        assert self._memory is not None
        return self._memory.rose(host)

    def _memory_kills(self, address: str | None) -> dict[str, int]:
        hosts = self._usable.values()
        return probe.kills_of([host for host in hosts if address in (None, host.address)])

    def look_around(self, wanted: int) -> None:
        looks = time.monotonic() - self._looked >= LOOK_SECONDS
        if looks:
            self._looked = time.monotonic()
            self._see(probe.hosts())
        if self._take_answers() or looks:
            self._grow(wanted)

    def _grow(self, wanted: int) -> None:
        assert self._settings is not None
        there = self._room([*self._usable.values(), *self._asking])
        self._growth.want(missing_room(wanted, self._settings.concurrent, there), self._usable.keys())

    def _take_answers(self) -> bool:
        """Whether there was one."""
        answered = [host for host, answer in self._asking.items() if answer.done()]
        for host in answered:
            try:
                self._asking.pop(host).result()
            except probe.NoAnswerError as error:
                # It may be gone by now, or busy: as long as it is there it is asked again.
                if host.node not in self._silent:
                    self._silent.add(host.node)
                    self._say(f"a host that has joined is waited for: {error}")
            except InputError as error:
                self._avoided |= {host.node}
                self._say(f"no trial will run on a host that has joined: {error}")
                self._growth.end()
            else:
                self._usable[host.node] = host
                self._say(f"{host} has joined: {self._room([host])} more at a time")
        return bool(answered)

    def _see(self, hosts: Sequence[Host]) -> None:
        alive = {host.node: host for host in hosts}
        for node in [node for node in self._usable if node not in alive]:
            self._say(f"{self._usable.pop(node)} is gone")
        known = {*self._usable, *self._avoided, *(host.node for host in self._asking)}
        for host in hosts:
            if host.node not in known and self._room([host]) > 0:
                self._asking[host] = in_background(partial(self._admit, host))

    def _admit(self, host: Host) -> None:
        """As those were that were there from the beginning."""
        assert self._settings is not None
        assert self._place is not None
        settings = self._settings
        hardware = self._installed([host], settings)
        common_precision(hardware, settings.precision, settings.device, settings.gpus_per_trial)
        probe.refuse_unreachable([host], self._place)
        assert self._memory is not None
        self._memory.begin(probe.kills_of([host]))

    def _room(self, hosts: Iterable[Host]) -> int:
        """For how many trials."""
        assert self._settings is not None
        return sum(host.trials(self._settings.gpus_per_trial) for host in hosts)

    def avoided(self) -> frozenset[str]:
        return self._avoided

    def watched(self, leave: Callable[[str], str]) -> AbstractContextManager[None]:
        return watching_head(self._head, leave)
