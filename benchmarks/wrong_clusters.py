"""Claim: each of 14 wrong clusters is refused within 15 seconds, in one line that says what is wrong, where, and what
to do.

One cluster in network namespaces, one good host, and a second one with a fault of its own each time:

- another Python, Ray, torch or hybridtune, a clock that is off, a CPU without bf16: a module of the host's Python says
  so to whoever asks there. What it says is made up, what asks and decides is not;
- the run's folder is not mounted, or read-only, or its disk is full: mounts of the host;
- GPUs that Ray counts and PyTorch does not find: the host's own start command;
- a wrong token, a closed port, a bucket that is gone, a dataset that is gone: the launch or resume itself.

Needs root, for the namespaces.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.hosts import HEAD, PORT, Hosts
from benchmarks.machine import cpu_name
from benchmarks.small_dataset import HYBRIDTUNE, prepare_small_dataset
from hybridtune.models.device import has_bf16
from hybridtune.search.cluster.maps import cores

SECONDS = 15.0
ADDRESS = ("--address", f"{HEAD}:{PORT}")
LAUNCH = (
    *("launch", "dataset", "--trials", "2", "--iterations", "1", "--samples-per-iteration", "64"),
    *("--space", "space.yaml", "--top-k", "1", "--seeds", "1"),
)
SPACE = "base: basic\ndimensions:\n  hidden_size: 16\n  layers: 1\n"
WRONG = "host 10.99.0.12"
PYTHON = "import platform; platform.python_version = lambda: '3.12.1'"
CLOCK = "import time; now = time.time; time.time = lambda: now() + 3600"
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
NO_BF16 = """
import importlib.abc, importlib.machinery, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "torch.cpu":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            module._is_avx512_bf16_supported = module._is_amx_tile_supported = lambda: False
        spec.loader.exec_module = exec_module
        return spec
sys.meta_path.insert(0, Finder())
"""
FULL = (
    "mkdir -p {x} && mount -t tmpfs -o size=16k none {x} && mkdir {x}/up {x}/work && "
    "mount -t overlay overlay -o lowerdir={shared},upperdir={x}/up,workdir={x}/work {shared} && "
    "head -c 100k /dev/zero > {x}/rest; true"
)


@dataclass(frozen=True)
class Wrong:
    """words: that the line has to have. start: options of the host. before: shell commands on it."""

    words: Sequence[str]
    module: str = ""
    """What Python runs first on the host."""
    metadata: tuple[str, str] | None = None
    """Package and version that the host says it has."""
    other_code: bool = False
    before: str = ""
    start: Sequence[str] = ("--num-cpus=1",)
    launch: Sequence[str] = (*LAUNCH, "--run", "new", *ADDRESS)
    environment: Mapping[str, str] = field(default_factory=dict)


def wrong_clusters() -> dict[str, Wrong]:
    return {
        "another Python": Wrong([WRONG, "python 3.12.1", "install the same"], module=PYTHON),
        "another Ray": Wrong([WRONG, "ray 2.59.0", "install the same"], metadata=("ray", "2.59.0")),
        "another torch": Wrong([WRONG, "torch 2.12.0", "install the same"], metadata=("torch", "2.12.0")),
        "another hybridtune": Wrong([WRONG, "is not this one", "install the same wheel"], other_code=True),
        "clock an hour off": Wrong([WRONG, "60 minutes ahead", "chrony"], module=CLOCK),
        "no bf16 on one host": Wrong(
            [WRONG, "no native bf16", "--precision fp32"],
            module=NO_BF16,
            launch=(*LAUNCH, "--run", "new", *ADDRESS, "--precision", "bf16"),
        ),
        "no GPU for PyTorch": Wrong(
            [WRONG, "PyTorch sees none", "CUDA build"],
            start=("--num-cpus=1", "--num-gpus=1"),
            launch=(*LAUNCH, "--run", "new", *ADDRESS, "--gpus-per-trial", "1"),
        ),
        "path not shared": Wrong([WRONG, "shared mount"], before="mount -t tmpfs none {shared}"),
        "path read-only": Wrong([WRONG, "mount it writable"], before="mount -o bind,ro {shared} {shared}"),
        "disk full": Wrong([WRONG, "make space"], before=FULL),
        "wrong token": Wrong(["token", "~/.ray/auth_token"], environment={"RAY_AUTH_TOKEN": "f" * 32}),
        "port closed": Wrong(
            [f"{HEAD}:9", "start one there"], launch=(*LAUNCH, "--run", "new", "--address", f"{HEAD}:9")
        ),
        "bucket gone": Wrong(["s3://none/run", "bucket"], launch=(*LAUNCH, "--run", "s3://none/run", *ADDRESS)),
        "dataset gone": Wrong(["dataset"], launch=("resume", "begun", *ADDRESS)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(wrong_clusters()))
    given = parser.parse_args()
    found = measure(given.only or list(wrong_clusters()))
    holds = all(one["refused"] and one["seconds"] <= SECONDS for one in found.values())
    machine = {"cpu": cpu_name(), "cores": cores()}
    print(json.dumps({"benchmark": "wrong_clusters", "machine": machine, "found": found, "holds": holds}))


def measure(names: Sequence[str]) -> dict[str, Any]:
    with Hosts() as hosts:
        bucket = hosts.start_s3_server("runs")
        hosts.start_head(changes=bucket)
        hosts.start_worker(1, changes=bucket)
        shared = hosts.folder / "shared"
        shared.mkdir()
        _prepare(hosts, shared)
        found = {}
        for name in names:
            wrong = wrong_clusters()[name]
            if wrong.module == NO_BF16 and not _has_bf16():
                continue  # then no host has any
            found[name] = _refusal(hosts, shared, wrong, bucket)
            print(json.dumps({name: found[name]}), file=sys.stderr)
        return found


def _refusal(hosts: Hosts, shared: Path, wrong: Wrong, bucket: Mapping[str, str]) -> dict[str, Any]:
    names = {"shared": str(shared), "x": str(hosts.folder / "full")}
    changes = {"PYTHONPATH": str(_modules(hosts.folder / "modules", wrong))}
    hosts.start_worker(2, *wrong.start, before=wrong.before.format(**names), changes={**bucket, **changes})
    began = time.monotonic()
    done = hosts.run("head", [HYBRIDTUNE, *wrong.launch], {**bucket, **wrong.environment}, cwd=shared)
    seconds = time.monotonic() - began
    hosts.end_worker(2)
    one_line = done.returncode == 2 and done.stderr.count("\n") == 1 and not (shared / "new").exists()
    return {
        "refused": one_line and all(word in done.stderr for word in wrong.words),
        "seconds": round(seconds, 1),
        "line": done.stderr.strip(),
    }


def _modules(folder: Path, wrong: Wrong) -> Path:
    """A folder that the host's Python looks into first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(wrong.module)
    if wrong.metadata is not None:
        name, version = wrong.metadata
        (folder / f"{name}-{version}.dist-info").mkdir()
        text = METADATA.format(name=name, version=version)
        (folder / f"{name}-{version}.dist-info" / "METADATA").write_text(text)
    if wrong.other_code:
        shutil.copytree(Path(__file__).parents[1] / "hybridtune", folder / "hybridtune", symlinks=False)
        with (folder / "hybridtune" / "data" / "__init__.py").open("a") as file:
            file.write("# another\n")
    return folder


def _prepare(hosts: Hosts, shared: Path) -> None:
    (shared / "space.yaml").write_text(SPACE)
    prepare_small_dataset(hosts, "head", shared)
    done = hosts.run("head", [HYBRIDTUNE, *LAUNCH, "--run", "begun"], cwd=shared)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    # The run's dataset is gone, and there is another one.
    document = (shared / "begun" / "run.json").read_text()
    (shared / "begun" / "run.json").write_text(document.replace(str(shared / "dataset"), str(shared / "gone")))


def _has_bf16() -> bool:
    import torch

    return has_bf16(torch.device("cpu"))


if __name__ == "__main__":
    main()
