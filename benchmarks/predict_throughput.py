"""Claim: a bundle predicts 1,000 series of 720 minutes in a minute on 2 cores, at every minute, and loads in 2 s.

With the bundle that `make search` left (run that first), on other launches. The whole command is timed, its start, the
reading of the files and the writing of the predictions included; loading is `Bundle.load` with its imports, the median
of five fresh processes. Members and their sizes are those that the search found, and stand in the result.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import cpu_name
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.models.bundle.bundle import Bundle
from hybridtune.search.cluster.maps import cores

SERIES, MINUTES, STRIDE = 1_000, 720, 1
CLAIM_SECONDS, CLAIM_LOAD_SECONDS = 60.0, 2.0
HYBRIDTUNE = str(Path(sys.executable).with_name("hybridtune"))
LOAD = "import sys, time; from pathlib import Path; started = time.perf_counter(); "
LOAD += (
    "from hybridtune.models.bundle import Bundle; Bundle.load(Path(sys.argv[1])); print(time.perf_counter() - started)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("demo/bundle"), help="where make search wrote it")
    bundle = parser.parse_args().bundle
    with tempfile.TemporaryDirectory() as folder:
        generate(SynthConfig(tokens=SERIES, minutes=MINUTES, seed=1), Path(folder) / "raw")
        seconds = predict_seconds(bundle, Path(folder))
    load = statistics.median(load_seconds(bundle) for _ in range(5))
    members = [f"{m.architecture} {m.config.get('hidden_size')}" for m in Bundle.load(bundle).document.members]
    print(
        json.dumps(
            {
                "benchmark": "predict_throughput",
                "machine": {"cpu": cpu_name(), "cores": cores()},
                "members": members,
                "seconds": round(seconds, 1),
                "series_per_minute": round(60 * SERIES / seconds),
                "load_seconds": round(load, 2),
                "claims": {"seconds": CLAIM_SECONDS, "load_seconds": CLAIM_LOAD_SECONDS},
                "holds": seconds <= CLAIM_SECONDS and load < CLAIM_LOAD_SECONDS,
            }
        )
    )


def predict_seconds(bundle: Path, folder: Path) -> float:
    files = (str(folder / "raw" / "launches"), "--out", str(folder / "out.parquet"))
    started = time.perf_counter()
    subprocess.run(
        [HYBRIDTUNE, "predict", str(bundle), *files, "--stride", str(STRIDE)], stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - started


def load_seconds(bundle: Path) -> float:
    done = subprocess.run([sys.executable, "-c", LOAD, bundle], stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
