"""A dataset on which a trial takes seconds, made on a host of benchmarks.hosts."""

import sys
from pathlib import Path

from benchmarks.hosts import Hosts

HYBRIDTUNE = str(Path(sys.executable).with_name("hybridtune"))


def prepare_small_dataset(hosts: Hosts, name: str, folder: Path) -> None:
    """folder/dataset. name: of the host."""
    raw = ("synth", "raw", "--tokens", "40", "--minutes", "600")
    prepare = ("prepare", "raw/launches", "dataset", "--horizons", "15,60", "--expanding-max", "120")
    for line in (raw, prepare):
        done = hosts.run(name, [HYBRIDTUNE, *line], cwd=folder)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
