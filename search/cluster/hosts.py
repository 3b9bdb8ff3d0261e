"""The hosts of a cluster as far as a search cares: what each has, and why one cannot be used. Decisions only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hybridtune.data.schema import InputError
from hybridtune.models.hardware import DeviceChoice, Precision, PrecisionChoice

CLOCK_SECONDS = 300.0
"""How far a host's clock may be off: storage refuses signatures that are 15 minutes old."""


NODE = "ray.io/node-id"
"""Ray's own label of a node."""


@dataclass(frozen=True)
class Host:
    """A node of the cluster."""

    node: str
    """Ray's name of it."""
    address: str
    hostname: str
    cpus: float
    gpus: float

    def __str__(self) -> str:
        return f"host {self.address} ({self.hostname})"

    def trials(self, gpus_per_trial: float) -> int:
        """How many run here at once, on a core each."""
        return int(min(self.cpus, room_on_gpus(self.gpus, gpus_per_trial)))


def room_on_gpus(gpus: float, gpus_per_trial: float) -> float:
    """For how many trials a host has GPUs. A part of one is a part of one card: Ray gives no trial the rests of two."""
    # A tenth is not quite one in floats.
    return int(gpus) * int(1 / gpus_per_trial + 1e-6) if gpus_per_trial > 0 else math.inf


@dataclass(frozen=True)
class HostHardware:
    """Of a host, as PyTorch sees it."""

    cuda_devices: int
    cpu_bf16: bool
    cpu_best: Precision
    """What its CPU trains fastest in."""
    cuda_bf16: bool


def installation_problem(there: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    """Why a host whose `installed()` is `there` cannot train for a driver whose is `here`; None if it can."""
    for name in ("hybridtune", "torch", "ray"):
        if not there[name]:
            return f"it has no {name}: install {name} {here[name]} there"
    for name, shorten in (("python", _minor), ("ray", str), ("torch", _public), ("hybridtune", str)):
        if shorten(there[name]) != shorten(here[name]):
            return f"it has {name} {there[name]}, this is {here[name]}: install the same on every host"
    if there["code"] != here["code"]:
        return (
            f"its hybridtune {there['hybridtune']} is not this one (code {there['code']} and {here['code']}): "
            "install the same wheel on every host"
        )
    ahead = float(there["clock"]) - float(here["clock"])
    if abs(ahead) > CLOCK_SECONDS:
        return f"its clock is {abs(ahead) / 60:.0f} minutes {'ahead' if ahead > 0 else 'slow'}: set it (chrony, ntpd)"
    return None


def _minor(version: str) -> str:
    return version.rpartition(".")[0]


def _public(version: str) -> str:
    """Builds for CPU and CUDA differ after the plus sign only."""
    return version.partition("+")[0]


def hardware_problem(host: Host, hardware: HostHardware, device: DeviceChoice, gpus_per_trial: float) -> str | None:
    if device == "mps":
        return "it is no Mac: use --device auto"
    if gpus_per_trial > 0 and device != "cpu" and host.gpus > 0 and hardware.cuda_devices == 0:
        return (
            f"Ray counts {host.gpus:g} GPUs there, PyTorch sees none: install a CUDA build of torch and its driver, "
            "or use --device cpu"
        )
    return None


def usable(hosts: Sequence[Host], gpus_per_trial: float) -> list[Host]:
    """Those that a trial can run on. Raises InputError if there is none."""
    found = [host for host in hosts if host.trials(gpus_per_trial) > 0]
    if found:
        return found
    there = ", ".join(f"{host.address}: {host.cpus:g} CPUs, {host.gpus:g} GPUs" for host in hosts)
    gpus = f" and {gpus_per_trial:g} of a GPU" if gpus_per_trial < 1 else " and a GPU"
    wanted = "a CPU" + (gpus if gpus_per_trial > 0 else "")
    raise InputError(f"no host of the cluster has {wanted} for a trial ({there}): start workers, or ask for less")


def not_on(nodes: frozenset[str]) -> dict[str, str]:
    """Ray's selector of all hosts but these, by Ray's names of them."""
    return {NODE: f"!in({','.join(sorted(nodes))})"} if nodes else {}


def missing_room(wanted: int, concurrent: int | None, there: int) -> int:
    """For how many more trainings hosts should be started. wanted: the trainings that are left. concurrent: how many
    may run at a time, if that was said. there: how many there is room for.
    """
    return max(0, min(wanted, concurrent or wanted) - there)


def common_precision(
    hardware: Mapping[Host, HostHardware], wanted: PrecisionChoice, device: DeviceChoice, gpus_per_trial: float
) -> Precision:
    """The same for all, as losses in two precisions do not compare: what models.device.best_precision is on every host.

    Raises InputError if bf16 was asked for and a host has none.
    """
    on_gpu = gpus_per_trial > 0 and device != "cpu"
    without = [host for host, has in hardware.items() if not (has.cuda_bf16 if on_gpu else has.cpu_bf16)]
    if wanted == "bf16" and without:
        raise InputError(f"{without[0]} has no native bf16: use --precision fp32, or leave that host out")
    if wanted != "auto":
        return wanted
    return "bf16" if not on_gpu and all(has.cpu_best == "bf16" for has in hardware.values()) else "fp32"
