"""Claims: 10,000 generated launches of 1,440 minutes are prepared in 5 minutes on 2 cores, in less than 2 GB whatever
their number; and the dataset opens in half a second.

Generates 1,000 and 10,000 launches (not counted) and prepares each with every core that the process may use. Memory is
the peak, over the command's processes together, of proportional set size, looked at twice a second: page cache that
the system can take back is not in it. Opening is `Dataset(path)` alone, the median of five fresh processes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import PeakOfTree, cpu_name
from hybridtune.data.prepare import prepare
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.search.cluster.maps import cores, process_map

SECONDS, MEGABYTES, OPEN_SECONDS = 300.0, 2048.0, 0.5
OPEN = "import sys, time; from pathlib import Path; from hybridtune.data.store import Dataset; "
OPEN += "started = time.perf_counter(); Dataset(Path(sys.argv[1])); print(time.perf_counter() - started)"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--folder", type=Path, help="where to work, some 15 GB at 10,000; default a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        arms = {str(tokens): measure(Path(folder) / str(tokens), tokens) for tokens in arguments.tokens}
    largest = arms[str(max(arguments.tokens))]
    result = {
        "benchmark": "prepare_scale",
        "machine": {"cpu": cpu_name(), "cores": cores()},
        "arms": arms,
        "claim": {"seconds": SECONDS, "peak_mb": MEGABYTES, "open_seconds": OPEN_SECONDS},
        "holds": largest["seconds"] <= SECONDS
        and largest["open_seconds"] < OPEN_SECONDS
        and all(arm["peak_mb"] < MEGABYTES for arm in arms.values()),
    }
    print(json.dumps(result))


def measure(folder: Path, tokens: int) -> dict[str, float]:
    print(f"generating {tokens} launches", file=sys.stderr)
    generate(SynthConfig(tokens=tokens), folder / "raw")
    print(f"preparing {tokens} launches", file=sys.stderr)
    started = time.perf_counter()
    with PeakOfTree() as memory, process_map(cores()) as parallel_map:
        prepare(folder / "raw" / "launches", folder / "dataset", parallel_map=parallel_map)
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in (folder / "dataset").iterdir())
    return {
        "seconds": round(seconds, 1),
        "peak_mb": round(memory.peak_mb),
        "open_seconds": round(statistics.median(open_seconds(folder / "dataset") for _ in range(5)), 3),
        "dataset_mb": round(size / 2**20),
    }


def open_seconds(dataset: Path) -> float:
    done = subprocess.run([sys.executable, "-c", OPEN, str(dataset)], stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
