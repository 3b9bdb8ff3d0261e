"""How long a user waits for `import hybridtune`, `hybridtune --help` and `hybridtune status`.

The study that `status` opens has no trials yet: what is measured is the start of the program.
Medians of REPEATS starts after one that fills the file cache. Ratio: the slowest against its target.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import cpu_name
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.study import create_study
from hybridtune.spaces.load import load_space

REPEATS = 7
TARGETS = {"import": 0.1, "help": 0.3, "status": 1.0}
"""Seconds."""


def main() -> None:
    command = str(Path(sys.executable).with_name("hybridtune"))
    with tempfile.TemporaryDirectory() as folder:
        run = new_run(Path(folder))
        starts = {
            "import": [sys.executable, "-c", "import hybridtune"],
            "help": [command, "--help"],
            "status": [command, "status", str(run)],
        }
        seconds = {name: median_seconds(start) for name, start in starts.items()}
    bare = median_seconds([sys.executable, "-c", "pass"])
    # The interpreter's own start is no part of an import.
    seconds["import"] -= bare
    ratio = max(seconds[name] / TARGETS[name] for name in TARGETS)
    print(json.dumps({"ratio": round(ratio, 2), "seconds": rounded(seconds), "targets": TARGETS, "cpu": cpu_name()}))


def new_run(folder: Path) -> Path:
    space = load_space("hybrid")
    settings = Settings(
        dataset=folder / "dataset",
        space_name=space.name,
        dimensions=dict(space.dimensions),
        reference=dict(space.reference),
        concurrent=1,
    )
    run = RunDir.create(folder / "run", settings, "none")
    create_study(run, space, settings.metric)
    return run.path


def median_seconds(command: list[str]) -> float:
    taken = []
    for _ in range(REPEATS + 1):
        before = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - before)
    return statistics.median(taken[1:])


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}


if __name__ == "__main__":
    main()
