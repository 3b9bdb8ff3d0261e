"""Asks every host of the joined cluster whether a trial can run there. A host that cannot is named, with the remedy,
before anything is trained: later its trials would fail one by one, or train from the beginning in silence.
"""

import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hybridtune.data.schema import InputError
from hybridtune.search.cluster import probe_task
from hybridtune.search.cluster.hosts import Host, HostHardware, installation_problem
from hybridtune.search.cluster.memory import memory_kills
from hybridtune.search.run.place import Place

ANSWER_SECONDS = 60.0
"""How long a busy host may take; one that is wrong says so in a few."""

SOON_SECONDS = 5.0
"""The same where a search waits for it."""

cloudpickle.register_pickle_by_value(probe_task)


class NoAnswerError(InputError):
    """A host has not said whether it can train."""


def hosts() -> list[Host]:
    """Those that are alive, ordered by address."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    found = [
        Host(
            node["NodeID"],
            node["NodeManagerAddress"],
            node["NodeManagerHostname"],
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
        )
        for node in alive
    ]
    return sorted(found, key=lambda host: host.address)


def refuse_other_installations(asked: Sequence[Host]) -> None:
    """Raises InputError naming the first host whose Python, packages or clock are not this one's."""
    answers, here = _answers(asked, probe_task.installed), probe_task.installed()
    for host, there in zip(asked, answers, strict=True):
        problem = installation_problem(there, here)
        if problem is not None:
            raise InputError(f"{host}: {problem}")


def hardware_of(asked: Sequence[Host]) -> dict[Host, HostHardware]:
    """Of hosts with this installation."""
    return dict(zip(asked, _answers(asked, _hardware), strict=True))


def kills_of(asked: Sequence[Host]) -> dict[str, int]:
    """`memory_kills` by address, of those that answer soon."""
    answers = {_pinned(memory_kills, host).remote(): host for host in asked}
    ready, _ = ray.wait(list(answers), num_returns=len(answers), timeout=SOON_SECONDS) if answers else ([], [])
    kills = {}
    for reference in ready:
        # A host that has died has no memory left to run out of.
        with suppress(RayError):
            kills[answers[reference].address] = ray.get(reference)
    return kills


def refuse_unseen(asked: Sequence[Host], path: Path) -> None:
    """Raises InputError naming the first host that does not see the folder or file."""
    for host, sees in zip(asked, _answers(asked, os.path.exists, *[(path,)] * len(asked)), strict=True):
        if not sees:
            raise InputError(f"{host}: {path} is not on this host: mount it on every host, or leave --address out")


def refuse_unreachable(asked: Sequence[Host], place: Place) -> None:
    """Raises InputError naming the first host that cannot read what is written to the run here, or the other way
    round.
    """
    question = f"probe-{secrets.token_hex(8)}"
    answers = {host: f"{question}.{number}" for number, host in enumerate(asked)}
    place.write(question, b"question")
    try:
        problems = _answers(asked, _reach, *[(place, question, answer) for answer in answers.values()])
        for (host, answer), problem in zip(answers.items(), problems, strict=True):
            if problem is None and place.read(answer) != b"answer":
                problem = f"what it writes to {place} does not arrive here: every host has to see the same folder"
            if problem is not None:
                raise InputError(f"{host}: {problem}")
    finally:
        for name in (question, *answers.values()):
            place.remove(name)


def _reach(place: Place, question: str, answer: str) -> str | None:
    """In a host. What is wrong, for people."""
    try:
        place.check()
        if place.read(question) != b"question":
            return f"what is written to {place} does not arrive there: every host has to see the same folder"
        place.write(answer, b"answer")
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"{place} cannot be written there ({error.strerror}): mount it writable, or make space"
    return None


def _hardware() -> HostHardware:
    """In a host. This process was given no GPU, so Ray may hide them from it."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    import torch

    from hybridtune.models.device import best_precision, has_bf16

    devices = torch.cuda.device_count()
    return HostHardware(
        devices,
        has_bf16(torch.device("cpu")),
        best_precision(torch.device("cpu")),
        devices > 0 and has_bf16(torch.device("cuda", 0)),
    )


def _answers(asked: Sequence[Host], question: Callable[..., Any], *arguments: tuple[Any, ...]) -> list[Any]:
    """What `question` returns on each host. arguments: of each host; none of them: no arguments.

    Raises InputError naming the first host that cannot answer, NoAnswerError if it is not known why.
    """
    references = [
        _pinned(question, host).remote(*given)
        for host, given in zip(asked, arguments or [()] * len(asked), strict=True)
    ]
    deadline = time.monotonic() + ANSWER_SECONDS
    found = []
    for host, reference in zip(asked, references, strict=True):
        try:
            found.append(ray.get(reference, timeout=max(0.0, deadline - time.monotonic())))
        except ray.exceptions.GetTimeoutError:
            raise NoAnswerError(
                f"{host} does not answer within {ANSWER_SECONDS:.0f} seconds: look at it, or end it"
            ) from None
        except RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            kind = InputError if isinstance(error, RayTaskError) else NoAnswerError
            raise kind(f"{host} cannot run a task: {lines[-1]}") from None
    return found


def _pinned(function: Callable[..., Any], host: Host) -> Any:
    """A remote function that runs on the host and nowhere else."""
    # A process that has looked at all GPUs must end: the trial that came next in it would use them all.
    remote = ray.remote(num_cpus=0, max_retries=0, max_calls=1 if host.gpus else 0)(function)
    return remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(host.node, soft=False))
