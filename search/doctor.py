"""What this machine has of what a search needs, and what to do about what is missing."""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hybridtune.data.schema import InputError

if TYPE_CHECKING:
    from hybridtune.search.run.location import Location

EXTRAS = {
    "search": ("jinja2", "optuna", "plotly", "ray", "scipy", "sklearn", "sqlalchemy", "tensorboardX", "yaml"),
    "s3": ("boto3",),
    "cluster": ("aiohttp",),
    "dashboard": ("a2wsgi", "httpx2", "optuna_dashboard", "sse_starlette", "starlette", "tensorboard", "uvicorn"),
}
"""Modules that the base install leaves out, by the extra that brings them."""

NAMED = {
    "search": ("torch", "ray", "optuna"),
    "s3": ("boto3",),
    "cluster": ("ray",),
    "dashboard": ("optuna-dashboard", "tensorboard"),
}
"""Packages of each extra whose versions explain the most."""

GIB = 2**30
LEAST_MEMORY, LEAST_DISK = 2 * GIB, 5 * GIB
"""A worker of the default space takes about 1 GB beside Ray; a search's folders grow by megabytes a trial."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 the kernel's, where Ray keeps what its processes share
LEAST_SHARED = GIB
CONTROL_GROUP = Path("/sys/fs/cgroup")

State = Literal["ok", "note", "missing"]


@dataclass(frozen=True)
class Finding:
    about: str
    found: str
    state: State = "ok"
    """note: something that not everybody needs is missing. missing: a search on this machine would not do."""
    remedy: str | None = None

    def text(self) -> str:
        line = f"{self.state:8}{self.about}: {self.found}"
        return f"{line}\n        {self.remedy}" if self.remedy else line


def examine(run: str | None = None) -> Iterator[Finding]:
    """One finding after another, as each is known. run: a run, or where one is to be, to see whether it can be used."""
    yield Finding("hybridtune", f"{version('hybridtune')} on Python {platform.python_version()}, {platform.platform()}")
    yield from _packages()
    yield from _devices()
    yield from _room()
    yield from _ray()
    yield _namespaces()
    if run is not None:
        yield _run(run)


def _packages() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            state: State = "missing" if extra == "search" else "note"
            found = f"without {', '.join(missing)}"
            yield Finding(f"extra {extra}", found, state, f"pip install 'hybridtune[{extra}]'")
        else:
            yield Finding(f"extra {extra}", ", ".join(f"{name} {version(name)}" for name in NAMED[extra]))


def _devices() -> Iterator[Finding]:
    import torch

    from hybridtune.models.device import best_precision
    from hybridtune.search.cluster.maps import cores

    cpu = best_precision(torch.device("cpu"))
    amx = ", AMX" if torch.cpu._is_amx_tile_supported() else ""
    yield Finding("CPU", f"{cores()} cores, trains in {cpu}{amx}")
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        precision = best_precision(torch.device("cuda", index))
        name = torch.cuda.get_device_name(index)
        yield Finding("GPU", f"{name}, {free / GIB:.0f} of {total / GIB:.0f} GiB free, trains in {precision}")
    if torch.cuda.device_count() == 0:
        built = "PyTorch is built without CUDA" if torch.version.cuda is None else "CUDA finds none"
        remedy = "trials run on the CPU; for a GPU see https://pytorch.org/get-started and --gpus-per-trial"
        yield Finding("GPU", f"none: {built}", "note", remedy)


def _room() -> Iterator[Finding]:
    memory = _available_memory()
    if memory is not None:
        yield _amount("memory", memory, LEAST_MEMORY, "free some, or give --concurrent 1")
    for folder in dict.fromkeys((Path.cwd(), Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        yield _amount(f"disk at {folder}", free, LEAST_DISK, "free some: what cannot be written ends a search")
    if SHARED_MEMORY.is_dir():
        free = shutil.disk_usage(SHARED_MEMORY).free
        yield _amount(f"shared memory at {SHARED_MEMORY}", free, LEAST_SHARED, "in a container: --shm-size=2g")


def _amount(about: str, free: int, least: int, remedy: str) -> Finding:
    found = f"{free / GIB:.1f} GiB free"
    return Finding(about, found) if free >= least else Finding(about, found, "missing", remedy)


def _available_memory() -> int | None:
    """Bytes, as the kernel or this container's limit has them; None on systems that do not say."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    except OSError:
        return None
    available = int(lines["MemAvailable"].split()[0]) * 1024
    try:
        limit = int((CONTROL_GROUP / "memory.max").read_text(encoding="ascii"))
        used = int((CONTROL_GROUP / "memory.current").read_text(encoding="ascii"))
        parts = dict(line.split() for line in (CONTROL_GROUP / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        # No limit, or none that could be seen.
        return available
    # Of what was read from files the kernel gives back what nobody has used lately.
    return min(available, limit - used + int(parts["inactive_file"]))


def _ray() -> Iterator[Finding]:
    if find_spec("ray") is None:
        return
    from hybridtune.search.cluster.token import TOKEN_REMEDY, refuse_open_token_file

    yield _refused("Ray's token", refuse_open_token_file, _token_state, TOKEN_REMEDY)
    from ray._private.services import find_gcs_addresses

    running = sorted(find_gcs_addresses())
    yield Finding("Ray on this host", ", ".join(running) or "none runs; a search without --address starts its own")


def _token_state() -> str:
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return "not asked for (RAY_AUTH_MODE is not token): right on one machine, wrong on a cluster"
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "in RAY_AUTH_TOKEN"
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    if not path.exists():
        raise InputError(f"RAY_AUTH_MODE is token, and there is no {path}")
    return f"in {path}"


def _refused(about: str, refuse: Callable[[], None], found: Callable[[], str], remedy: str) -> Finding:
    try:
        refuse()
        return Finding(about, found())
    except InputError as error:
        return Finding(about, str(error), "missing", remedy)


def _namespaces() -> Finding:
    about = "network namespaces"
    remedy = "only the project's own cluster tests need them: run those as root, with iproute2"
    unshare = shutil.which("unshare")
    if unshare is None:
        return Finding(about, "unshare is not installed", "note", remedy)
    made = subprocess.run([unshare, "--net", "true"], capture_output=True, check=False)  # noqa: S603 the system's own
    return Finding(about, "allowed") if made.returncode == 0 else Finding(about, "forbidden", "note", remedy)


def _run(name: str) -> Finding:
    from hybridtune.search.run.location import locate
    from hybridtune.search.run.opening import exists, open_run
    from hybridtune.search.study.backup import check_study

    about = f"run {name}"
    try:
        location = locate(name)
        if not exists(location):
            return _new_run(about, location)
        opened = open_run(name)
        check_study(opened)
        document = opened.document()
        found = f"{document.status}, of {document.versions.get('hybridtune', 'an unknown version')}"
        if not document.settings.dataset.exists() and location.place is None:
            remedy = "put it back, or a resume has nothing to train on"
            return Finding(about, f"{found}; its dataset {document.settings.dataset} is gone", "missing", remedy)
        if location.place is None and not _can_write(location.path):
            return Finding(about, f"{found}; its folder cannot be written", "missing", "allow it, or copy the run")
        return Finding(about, found)
    except InputError as error:
        return Finding(about, str(error), "missing")


def _new_run(about: str, location: "Location") -> Finding:
    if location.place is not None:
        return Finding(about, "none is there, and its place can be used")
    parent = next(folder for folder in location.path.parents if folder.exists())
    if _can_write(parent):
        return Finding(about, "none is there")
    return Finding(about, f"none is there, and {parent} cannot be written", "missing", "allow it, or name another")


def _can_write(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
