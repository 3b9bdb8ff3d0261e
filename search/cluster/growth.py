"""Hosts that the cluster's autoscaler starts because the search could use them."""

import time
from collections.abc import Set as AbstractSet

from hybridtune.data.schema import InputError
from hybridtune.search.cluster import probe
from hybridtune.search.cluster.reservations import Reservations
from hybridtune.search.run.say import Say

START_SECONDS = 1200.0
"""How long the cluster may take to start its first host: to get one, and to install PyTorch on it."""
REFUSED_SECONDS = 10.0
"""For so long the autoscaler has to say that it never will: its first look may come before it knows its own hosts."""


class Growth:
    """Asks for as many hosts as are missing. A cluster without an autoscaler stays as it is."""

    def __init__(self, head: str, say: Say) -> None:
        """head: HOST:PORT."""
        self._head = head
        self._say = say
        self._reservations: Reservations | None = None
        """None: no host is asked for."""
        self._failures: set[str] = set()

    def wait_for_first(self, gpus_per_trial: float) -> None:
        """Until there is a host for a trial, or it is clear that none will be started.

        Raises InputError if it takes too long.
        """
        reservations = Reservations(self._head, gpus_per_trial)
        if not reservations.autoscaler_runs():
            return
        self._reservations = reservations
        if _has_room(gpus_per_trial):
            return
        self._say("the cluster has no host for a trial yet: its autoscaler is asked for one")
        reservations.hold(1, frozenset(host.node for host in probe.hosts()))
        began = hoped = time.monotonic()
        while not _has_room(gpus_per_trial) and (now := time.monotonic()) - hoped < REFUSED_SECONDS:
            hoped = hoped if reservations.cannot_be_met() else now
            if now - began > START_SECONDS:
                raise InputError(
                    f"the cluster has started no host for a trial in {START_SECONDS / 60:.0f} minutes: its "
                    "autoscaler's log says why (`ray monitor cluster.yaml`, or logs/monitor.log of Ray on the head)"
                )
            self._say_failures(reservations)
            time.sleep(1)

    def want(self, missing: int, known: AbstractSet[str]) -> None:
        """Room for `missing` more trainings on hosts that are not known yet. known: Ray's names of the others."""
        if self._reservations is not None:
            self._reservations.hold(missing, frozenset(known))
            if missing > 0:
                self._say_failures(self._reservations)

    def end(self) -> None:
        """After a host was started that cannot train: the next one would be as wrong, and be paid for."""
        if self._reservations is not None:
            self._reservations.release()
            self._reservations = None
            self._say("the cluster's autoscaler is asked for no further host")

    def _say_failures(self, reservations: Reservations) -> None:
        """Each once."""
        for failure in reservations.failures():
            if failure not in self._failures:
                self._failures.add(failure)
                self._say(f"the cluster could not start a host: {failure}")


def _has_room(gpus_per_trial: float) -> bool:
    return any(host.trials(gpus_per_trial) > 0 for host in probe.hosts())
