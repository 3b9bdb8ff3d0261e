"""What several test files share: one generated launch set, prepared once, and makers of small series."""

import dataclasses
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike

from hybridtune.data.bars import Bars
from hybridtune.data.columns import recognise
from hybridtune.data.find import SeriesFile
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.read import read_series
from hybridtune.data.store import Dataset
from hybridtune.data.synth import SynthConfig, generate
from hybridtune.data.tables import column_names, refusing
from hybridtune.models.device import use_one_core
from hybridtune.models.score import HorizonMetrics, Score

HORIZONS = (15, 60)
EXPANDING_MAX = 240

BARS_EXTRAS = ("holders",)
"""Extra columns of `violent_bars`."""

WriteSeries = Callable[..., Path]


def read(path: Path, extras: Sequence[str] = (), limit_minutes: int | None = None) -> Bars:
    """The bars of one file, whose columns are recognised."""
    file = SeriesFile(path, path.stem, "")
    with refusing(path):
        columns = recognise(column_names(file), {}, path)
    return read_series(file, columns, extras, limit_minutes)


SCORE = Score(
    HorizonMetrics(100, 0.5, 0.6, 0.68, 0.24, 0.55, 0.55, 0.55, 0.55, 0.02),
    blocks=20,
    auc_low=0.55,
    auc_high=0.65,
    saved=0.01,
    skill=True,
)
"""Some score of a horizon, where a bundle needs one."""


def violent_bars(seed: int, minutes: int) -> Bars:
    """Crashes and jumps of a thousandfold, flat stretches, gaps, and volumes over sixteen decades."""
    rng = np.random.default_rng(seed)
    step = rng.choice([0.0, 1e-4, 0.05, 7.0], size=minutes, p=[0.3, 0.3, 0.35, 0.05]) * rng.standard_normal(minutes)
    observed = rng.random(minutes) < rng.choice([0.3, 0.9, 1.0])
    observed[0] = True
    minute = np.arange(minutes)
    staleness = minute - np.maximum.accumulate(np.where(observed, minute, 0))
    volume = 10.0 ** rng.uniform(-8, 8, minutes) * (rng.random(minutes) < rng.choice([0.0, 0.5, 1.0]))
    return Bars(
        start=np.datetime64("2025-03-01T00:00", "m") + rng.integers(1440),
        price_T=np.exp(np.cumsum(np.clip(step, -20, 20)) - 9)[minute - staleness],
        volume_T=np.where(observed, volume, 0.0),
        observed_T=observed,
        staleness_T=staleness,
        extras_TE=rng.standard_cauchy((minutes, len(BARS_EXTRAS))),
        unusable_rows=0,
        goes_on=False,
    )


def with_rows(bars: Bars, change: Callable[[np.ndarray, str], np.ndarray]) -> Bars:
    """The bars with `change(array, its name)` in place of each array."""
    arrays = {name: value for name, value in vars(bars).items() if isinstance(value, np.ndarray)}
    return dataclasses.replace(bars, **{name: change(value, name) for name, value in arrays.items()})


Result = TypeVar("Result")


def as_nobody(work: Callable[[], Result]) -> Result:
    """Its result or error under a user for whom permissions hold; root is above them."""
    if os.getuid() != 0:
        return work()
    received, sent = os.pipe()
    if os.fork() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            result: object = work()
        except Exception as error:
            result = error
        os.write(sent, pickle.dumps(result))
        os._exit(0)
    os.close(sent)
    with os.fdopen(received, "rb") as pipe:
        answer = pickle.loads(pipe.read())
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Where everybody may look, unlike pytest's folders."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        # So that who is not root can remove it.
        for path in (Path(folder), *Path(folder).iterdir()):
            path.chmod(0o755)


@pytest.fixture(scope="session", autouse=True)
def one_core() -> None:
    use_one_core()


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Ray in this process keeps its token there; one home for all tests, as it reads it but once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 launches of 400 minutes, below folders that name their category."""
    out = tmp_path_factory.mktemp("raw") / "synth"
    config = SynthConfig(tokens=24, minutes=400, spacing_minutes=400.0, horizons=HORIZONS, expanding_max=EXPANDING_MAX)
    generate(config, out)
    return out / "launches"


@pytest.fixture(scope="session")
def prepare_config() -> PrepareConfig:
    return PrepareConfig(horizons=HORIZONS, expanding_max=EXPANDING_MAX)


@pytest.fixture(scope="session")
def dataset(raw: Path, prepare_config: PrepareConfig, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("prepared") / "dataset"
    prepare(raw, out, prepare_config)
    return Dataset(out)


@pytest.fixture(scope="session")
def write_series() -> WriteSeries:
    """Writes bars of consecutive minutes; columns replace or add to `datetime` and `price`."""

    def write(path: Path, price: ArrayLike, start: str = "2025-01-01T00:00", **columns: ArrayLike) -> Path:
        times = np.datetime64(start, "us") + np.arange(len(np.atleast_1d(price))) * np.timedelta64(1, "m")
        table = pd.DataFrame({"datetime": times, "price": price} | columns)
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)
        return path

    return write


@dataclass(frozen=True)
class Command:
    """A process that runs or ran; its group holds what it started."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def stdout(self) -> str:
        return self.out.read_text()

    @property
    def stderr(self) -> str:
        return self.err.read_text()

    def wait(self, seconds: float = 600) -> int:
        return self.process.wait(timeout=seconds)

    def descendants(self) -> dict[int, str]:
        """Process id -> command line."""
        parents, lines = {}, {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with suppress(OSError):
                    parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                    lines[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        found = {self.process.pid}
        while more := {child for child, parent in parents.items() if parent in found} - found:
            found |= more
        return {pid: lines.get(pid, "") for pid in found - {self.process.pid}}

    def kill(self) -> None:
        """SIGKILL to the whole group; then what is left of Ray beyond it goes too."""
        left = self.descendants()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for folder in set(re.findall(r"/tmp/ht-\w+", " ".join(left.values()))):
            shutil.rmtree(folder, ignore_errors=True)


HYBRIDTUNE = str(Path(sys.executable).with_name("hybridtune"))


@dataclass(frozen=True)
class Workplace:
    """A folder where `hybridtune` runs as its users run it: in a process of its own, with a home of its own."""

    path: Path

    @property
    def environment(self) -> dict[str, str]:
        home = self.path / "home"
        home.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return kept | {"HOME": str(home)}

    def start(self, *arguments: str) -> Command:
        return self.start_program(HYBRIDTUNE, *arguments)

    def start_program(self, *line: str) -> Command:
        number = len(list(self.path.glob("*.stdout")))
        out, err = self.path / f"{number}.stdout", self.path / f"{number}.stderr"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                line,
                cwd=self.path,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                # A shell without job control starts its background jobs deaf to SIGINT, and they hand that on.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                env=self.environment,
            )
        return Command(process, out, err)

    def run(self, *arguments: str) -> Command:
        command = self.start(*arguments)
        try:
            command.wait()
        finally:
            command.kill()
        return command

    def succeed(self, *arguments: str) -> str:
        """Its output."""
        command = self.run(*arguments)
        assert command.process.returncode == 0, command.stderr + command.stdout
        return command.stdout

    def search(self, *arguments: str) -> None:
        """`launch` as far as its trials: its tables are written then."""
        command = self.start("launch", *arguments)
        try:
            wait_until(lambda: "retraining: " in command.stdout, command)
        finally:
            command.kill()


def wait_until(condition: Callable[[], object], command: Command, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert command.process.poll() is None, command.stderr + command.stdout
        assert time.monotonic() < deadline, command.stdout
        time.sleep(0.01)


BASIC_SPACE = "base: basic\ndimensions:\n  hidden_size: {choices: [16, 32]}\n  layers: 1\n"
SMALL_SPACE = """
base: hybrid
dimensions:
  hidden_size: 32
  attention_heads: {choices: [2, 4]}
  windows: {choices: [15/60, "15"]}
  layers: 1
"""

SMALL_LAUNCH = (
    *("--space", "space.yaml", "--trials", "4", "--iterations", "3", "--samples-per-iteration", "512"),
    *("--grace-period", "1", "--top-k", "2", "--seeds", "2", "--concurrent", "1"),
)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Where `raw`, `dataset` and a small finished `run` of `SMALL_LAUNCH` lie. Tests must leave them as they are."""
    place = Workplace(tmp_path_factory.mktemp("finished"))
    (place.path / "space.yaml").write_text(SMALL_SPACE)
    place.succeed("synth", "raw", "--tokens", "60", "--minutes", "800")
    place.succeed("prepare", "raw/launches", "dataset", "--horizons", "15,60", "--expanding-max", "240")
    place.succeed("launch", "dataset", "--run", "run", *SMALL_LAUNCH)
    return place
