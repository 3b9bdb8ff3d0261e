"""Hosts that come and go while a search runs on a cluster; what they answer is given here, the cluster itself is
another test's.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hybridtune.data.schema import InputError
from hybridtune.search.cluster import joined_workers, probe
from hybridtune.search.cluster.hosts import Host
from hybridtune.search.cluster.joined_workers import JoinedWorkers
from hybridtune.search.run.place import FolderPlace
from hybridtune.search.run.settings import Settings
from hybridtune.spaces.hybrid import HYBRID

FIRST, SECOND = (Host(f"n{number}", f"10.0.0.{number}", f"w{number}", cpus=4, gpus=0) for number in (1, 2))


class Cluster:
    """What the workers see of it."""

    def __init__(self) -> None:
        self.alive = [FIRST]
        self.kills = {host.address: 3 for host in (FIRST, SECOND)}
        self.answer: Callable[[Host], None] = lambda host: None
        self.asked: list[Host] = []
        self.said: list[str] = []
        self.ended_growth = False

    def installed(self, hosts: Sequence[Host]) -> None:
        for host in hosts:
            self.asked.append(host)
            self.answer(host)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(joined_workers, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(probe, "hosts", lambda: cluster.alive)
    monkeypatch.setattr(probe, "refuse_other_installations", cluster.installed)
    monkeypatch.setattr(probe, "refuse_unreachable", lambda hosts, place: None)
    monkeypatch.setattr(probe, "kills_of", lambda hosts: {host.address: cluster.kills[host.address] for host in hosts})
    same = probe._hardware()
    monkeypatch.setattr(probe, "hardware_of", lambda hosts: dict.fromkeys(hosts, same))
    return cluster


@pytest.fixture
def workers(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> JoinedWorkers:
    workers = JoinedWorkers("10.0.0.9:6379", cluster.said.append)
    monkeypatch.setattr(workers._growth, "wait_for_first", lambda gpus: None)
    monkeypatch.setattr(workers._growth, "end", lambda: setattr(cluster, "ended_growth", True))
    workers.fit(Settings(dataset=tmp_path, dimensions=dict(HYBRID.dimensions), reference=HYBRID.reference))
    workers.refuse_unreachable(FolderPlace(tmp_path))
    workers.start(1)
    return workers


def look_until(workers: JoinedWorkers, seen: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not seen():
        assert time.monotonic() < until
        workers.look_around(100)
        time.sleep(0.01)


def test_a_host_that_dies_while_it_is_asked_is_forgotten_and_more_are_wanted(
    cluster: Cluster, workers: JoinedWorkers
) -> None:
    """It ended the search's growth: a spot host that was taken back in its first minute cost all those after it."""

    def gone(host: Host) -> None:
        raise probe.NoAnswerError(f"{host} cannot run a task: its node has died")

    cluster.answer = gone
    cluster.alive = [FIRST, SECOND]
    look_until(workers, lambda: len(cluster.asked) >= 4)
    assert workers.avoided() == frozenset()
    assert not cluster.ended_growth
    assert cluster.said == [f"a host that has joined is waited for: {SECOND} cannot run a task: its node has died"]
    cluster.answer = lambda host: None
    look_until(workers, lambda: len(cluster.said) > 1)
    assert cluster.said[1:] == [f"{SECOND} has joined: 4 more at a time"]


def test_a_host_that_cannot_train_is_avoided_and_no_other_is_started(cluster: Cluster, workers: JoinedWorkers) -> None:
    def other(host: Host) -> None:
        raise InputError(f"{host}: it has torch 1.0")

    cluster.answer = other
    cluster.alive = [FIRST, SECOND]
    look_until(workers, lambda: cluster.ended_growth)
    assert workers.avoided() == {SECOND.node}
    assert cluster.said == [f"no trial will run on a host that has joined: {SECOND}: it has torch 1.0"]


def test_the_first_kill_for_want_of_memory_on_a_host_that_joined_is_noticed(
    cluster: Cluster, workers: JoinedWorkers
) -> None:
    """The counter was first read after it: the trial was tried again as large as before, and lost."""
    cluster.alive = [FIRST, SECOND]
    look_until(workers, lambda: len(cluster.said) == 1)
    cluster.kills[SECOND.address] += 1
    assert workers.memory_ran_out(SECOND.address)
    assert not workers.memory_ran_out(SECOND.address)
