"""The command line: mistakes cost one line and leave no files, help is quick, an interrupt is clean."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, Workplace, WriteSeries

import hybridtune.search.cli.main
import hybridtune.search.cli.run_commands
from hybridtune.data.schema import InputError
from hybridtune.data.store import BARS, Dataset
from hybridtune.search.cluster.joined_ray import joined_ray
from hybridtune.search.cluster.maps import cores
from hybridtune.search.cluster.workers import OwnWorkers
from hybridtune.search.pipeline import new_settings
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.say import Say
from hybridtune.search.run.settings import Settings
from hybridtune.spaces.hybrid import HYBRID
from hybridtune.spaces.load import load_space
from hybridtune.spaces.trial_config import Shape

COMMANDS = ("synth", "prepare", "launch", "resume", "status", "report", "export", "predict")


def listing(folder: Path) -> dict[str, bytes]:
    """Everything below, hidden files too."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


class Interrupting:
    """Gets a Ctrl-C as it is finalized."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_that_comes_in_a_finalizer_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch that got it as it imported Optuna went on to its end."""
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(hybridtune.search.cli.main, "_run", lambda arguments, debug: finalize_and_wait())
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with pytest.raises(KeyboardInterrupt):
        hybridtune.search.cli.main.main()


def finalize_and_wait() -> None:
    Interrupting()
    time.sleep(10)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_series: WriteSeries, dataset: Dataset) -> Path:
    """What the cases below speak of, as the current folder."""
    path = tmp_path / "work"
    price = np.exp(np.random.default_rng(0).normal(0, 0.01, 200).cumsum())
    write_series(path / "good" / "a.parquet", price)
    write_series(path / "one_bad" / "a.parquet", price)
    write_series(path / "one_bad" / "b.csv", price).write_text("datetime,cost\n2025-01-01,1\n")
    write_series(path / "no_price" / "a.csv", price).write_text("datetime,cost\n2025-01-01,1\n")
    write_series(path / "text" / "a.csv", ["1.5", "cheap", "1.7"])
    write_series(path / "truncated" / "a.parquet", price)
    os.truncate(path / "truncated" / "a.parquet", 1000)
    (path / "empty").mkdir()
    (path / "file").write_text("mine")
    (path / "dataset").symlink_to(dataset.source)
    (path / "damaged").mkdir()
    for file in dataset.source.iterdir():
        (path / "damaged" / file.name).write_bytes(file.read_bytes())
    os.truncate(path / "damaged" / BARS, 500)
    shutil.copytree(dataset.source, path / "zeroed")
    with (path / "zeroed" / BARS).open("r+b") as bars:
        bars.seek(200_000)
        bars.write(bytes(100_000))
    (path / "option.yaml").write_text("base: hybrid\ndimension:\n  hidden_size: 32\n")
    (path / "dimension.yaml").write_text("base: hybrid\ndimensions:\n  hidden_sice: 32\n")
    (path / "bounds.yaml").write_text("base: hybrid\ndimensions:\n  dropout: {low: 0.5, high: 0.2}\n")
    settings = Settings(
        dataset=dataset.source, dimensions=dict(HYBRID.dimensions), reference=HYBRID.reference, trials=4, concurrent=1
    )
    RunDir.create(path / "unfinished", settings, dataset.info.fingerprint)
    RunDir.create(path / "own", settings.model_copy(update={"sampler": "own:mine"}), dataset.info.fingerprint)
    RunDir.create(path / "moved", settings.model_copy(update={"dataset": path / "gone"}), "abc")
    RunDir.create(path / "changed", settings, "another fingerprint")
    RunDir.create(path / "old", settings, "abc")
    document = path / "old" / "run.json"
    document.write_text(document.read_text().replace('"version": 5', '"version": 4'))
    monkeypatch.chdir(path)
    return path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("synth empty", "empty exists already"),
        ("synth new --tokens 0", "tokens must be at least 1, got 0"),
        ("synth new --tokens many", "Invalid value for '--tokens'"),
        ("synth new --minutes 10", "minutes must be at least"),
        ("synth new --seed -1", "seed must be at least 0"),
        ("synth", "Missing argument"),
        ("prepare missing new", "missing does not exist"),
        ("prepare file new", "file is no .parquet, .csv, .feather or .json file"),
        ("prepare empty new", "empty holds no .parquet, .csv, .feather or .json file"),
        ("prepare no_price new", "a.csv has no column for the price"),
        ("prepare truncated new", "a.parquet cannot be read"),
        ("prepare text new", "column 'price' must hold numbers, got 'cheap' in row 1"),
        ("prepare good empty", "empty exists already"),
        ("prepare good file", "file exists already"),
        ("prepare good new --horizons 15,x", "horizons must be minutes separated by commas like 15,60, got '15,x'"),
        ("prepare good new --horizons 60,15", "horizons must be ascending minutes above 0"),
        ("prepare good new --slices 0.5/0.5", "slices must be four shares like 0.6/0.15/0.1/0.15, got '0.5/0.5'"),
        ("prepare good new --slices 0.9/0.9/0.9/0.9", "must be above 0 and sum to 1"),
        ("prepare good new --ties maybe", "ties must be one of drop, down, got 'maybe'"),
        ("prepare good new --expanding-min 0", "1 <= expanding-min <= expanding-max must hold"),
        ("prepare good new --anchor-stride 0", "anchor-stride must be at least 1 minute, got 0"),
        ("prepare good new --anchor-stride 1000000000000000000000", "anchor-stride must be at most 10000000 minutes"),
        ("prepare good new --expanding-max 1000000000000000000000", "expanding-max must be at most 10000000 minutes"),
        ("prepare good new --horizons 15,1000000000000000000000", "horizons must be at most 10000000 minutes"),
        ("prepare good bad\udcff", "bad\\xff: the name is not UTF-8, choose another"),
        ("prepare good new --horizons 15 --expanding-max 100", "slice 'train' is empty"),
        ("prepare one_bad new --strict", "b.csv has"),
        ("launch good --run new", "dataset.json does not exist"),
        ("launch missing --run new", "missing is not a dataset folder: `hybridtune prepare` makes one"),
        ("launch damaged --run new", "damaged is damaged"),
        ("launch zeroed --run new", "zeroed is damaged ("),
        ("launch dataset --run unfinished", "unfinished exists already"),
        ("launch dataset --run empty", "empty exists already"),
        ("launch dataset", "Missing option '--run'"),
        ("launch dataset --run new --nope", "No such option: --nope"),
        ("launch dataset --run new --trials 0", "trials: Input should be greater than or equal to 1, got 0"),
        ("launch dataset --run new --trials some", "Invalid value for '--trials'"),
        ("launch dataset --run new --concurrent 0", "concurrent: Input should be greater than or equal to 1, got 0"),
        ("launch dataset --run new --reduction-factor 1", "reduction_factor: Input should be greater than or equal"),
        ("launch dataset --run new --gpus-per-trial -1", "gpus_per_trial: Input should be greater than or equal to 0"),
        ("demo file/new", "file/new cannot be made (Not a directory): name another folder"),
        ("predict dataset good --out s3://bucket/new", "s3:/bucket/new would be a folder on this host"),
        ("launch dataset --run new --gpus-per-trial 1.5", "gpus_per_trial: Input should be less than or equal to 1"),
        ("launch dataset --run new --gpus-per-trial many", "gpus-per-trial must be a number like 1 or 0.5, or auto"),
        ("launch dataset --run new --gpus-per-trial auto", "gpus-per-trial is 1, this machine has 0 GPUs"),
        ("launch dataset --run new --metric profit", "metric: Input should be 'tune_loss' or 'tune_auc', got 'profit'"),
        ("launch dataset --run new --space mamba", "space 'mamba' is neither a file nor one of hybrid, basic"),
        ("launch dataset --run new --space option.yaml", "option.yaml:2: dimension: Extra inputs are not permitted"),
        ("launch dataset --run new --space dimension.yaml", "dimension.yaml:3: hybrid has no dimension 'hidden_sice'"),
        ("launch dataset --run new --space bounds.yaml", "bounds.yaml:3: dropout: low <= high must hold"),
        ("demo good", "good exists already: name another path or remove it"),
        ("launch dataset --run new --sampler best", "sampler must be one of tpe, random, gp, latest or a function"),
        ("launch dataset --run new --sampler no.module:f", "sampler 'no.module:f' cannot be made: No module"),
        ("launch dataset --run new --scheduler fifo", "scheduler: Input should be 'asha', 'promotion', 'hyperband' or"),
        ("launch dataset --run new --time-budget soon", "time-budget must be a time like 2h, 90m or 1h30m, got 'soon'"),
        ("launch dataset --run new --stop-after 0", "stop_after: Input should be greater than or equal to 1, got 0"),
        ("launch dataset --run new --warm-start empty", "empty is not a run directory"),
        ("launch dataset --run new --warm-start unfinished", "study.db holds no study yet"),
        ("launch dataset --run new --warm-start changed", "searched dataset another fingerprint, this one is"),
        ("resume unfinished --time-budget 0h", "time-budget must be a time like 2h, 90m or 1h30m, got '0h'"),
        ("replay unfinished 0", "study.db holds no study yet"),
        ("replay empty 0", "empty is not a run directory"),
        ("space show mamba", "space 'mamba' is neither a file nor one of hybrid, basic"),
        ("space show bounds.yaml", "bounds.yaml:3: dropout: low <= high must hold"),
        ("resume empty", "empty is not a run directory: `hybridtune launch` makes one"),
        ("resume unfinished --trials -1", "Invalid value for '--trials'"),
        ("resume unfinished --gpus-per-trial 1", "gpus-per-trial is 1, this machine has 0 GPUs: ask for fewer, or 0"),
        ("resume unfinished --device cuda", "device cuda needs a GPU for each trial: give --gpus-per-trial"),
        ("resume unfinished --device tpu", "device: Input should be 'auto', 'cpu', 'cuda' or 'mps', got 'tpu'"),
        ("resume unfinished --concurrent 0", "concurrent: Input should be greater than or equal to 1, got 0"),
        ("resume unfinished --sampler own:mine", "a resume keeps it: leave out --sampler own:mine"),
        ("resume own", "the run has a sampler of its own, whose code would be run: name it with --sampler own:mine"),
        ("resume own --sampler other:mine", "the run was searched with sampler own:mine, a resume keeps it"),
        ("resume own --sampler own:mine", "sampler 'own:mine' cannot be made: "),
        ("resume moved", "gone is not a dataset folder"),
        ("resume changed", "the run was started with another fingerprint: put the old dataset back"),
        ("resume changed --trials 3", "the run was started with another fingerprint: put the old dataset back"),
        ("status missing", "missing is not a run directory"),
        ("status old", "run.json has format version 4, this program reads 5"),
        ("report empty", "empty is not a run directory"),
        ("compare unfinished", "compare needs two or more runs or bundles, got 1"),
        ("compare unfinished nowhere", "unfinished is not finished, its status is searching"),
        ("report unfinished", "is not finished, its status is searching: `hybridtune resume"),
        ("export missing new", "missing is not a run directory"),
        ("export unfinished new", "is not finished, its status is searching: `hybridtune resume"),
        ("predict missing good --out new", "missing is not a bundle folder: `hybridtune export` makes one"),
        ("predict empty good --out new", "bundle.json does not exist"),
        ("predict missing good --out file", "file exists already"),
        ("predict missing good --out nowhere/new", "nowhere does not exist: make it first"),
        ("predict missing good --out new --stride 0", "stride must be at least 1 minute, got 0"),
        ("predict missing good --out new --stride few", "Invalid value for '--stride'"),
        ("predict missing good --out new --stride 1 --last", "exclude each other, got --stride and --last: keep one"),
        ("predict missing good --out new --last --minutes 120", "got --last and --minutes: keep one"),
        ("predict missing good --out new --minutes 120,x", "minutes must be minutes separated by commas like 15,60"),
        ("predict missing good --out new --explain folder", "explain needs --last or --minutes"),
        ("predict missing good --out new --explain folder --stride 60", "explain needs --last or --minutes"),
        ("predict missing good --out new --explain empty --last", "empty exists already"),
        ("predict missing good --out new --explain ./new --last", "need a path each, got new for both"),
        ("predict missing good", "Missing option '--out'"),
        ("forecast", "No such command 'forecast'"),
        ("--nope", "No such option: --nope"),
    ],
)  # fmt: skip
def test_bad_input_costs_one_line_and_leaves_no_files(
    folder: Path, line: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = listing(folder)
    status = hybridtune.search.cli.main._run(line.split(), debug=False)
    stdout, stderr = capfd.readouterr()
    assert (status, stdout) == (2, "")
    assert stderr.startswith("hybridtune: ")
    assert stderr.count("\n") == 1
    assert message in stderr
    assert "Traceback" not in stderr
    assert listing(folder) == before


@pytest.mark.parametrize(
    "line",
    ["--debug status empty", "status --debug empty", "status empty --debug"],
)
def test_debug_shows_the_traceback_wherever_it_stands(
    folder: Path, line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hybridtune", *line.split()])
    with pytest.raises(SystemExit) as caught:
        hybridtune.search.cli.main.main()
    stderr = capfd.readouterr().err
    assert caught.value.code == 2
    assert "Traceback (most recent call last)" in stderr
    assert 'search/run/run_dir.py", line' in stderr
    assert stderr.splitlines()[-1].startswith("hybridtune: empty is not a run directory")


def test_an_error_of_ours_has_another_status_than_one_of_the_user(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(path: Path) -> RunDir:
        raise OSError(5, "Input/output\nerror")

    monkeypatch.setattr(RunDir, "open", broken)
    assert hybridtune.search.cli.main._run(["status", "unfinished"], debug=False) == 1
    stderr = capfd.readouterr().err
    assert stderr == "hybridtune: OSError: [Errno 5] Input/output error (--debug shows where)\n"


def test_help_lists_every_command(capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"]):
        assert hybridtune.search.cli.main._run(arguments, debug=False) == 0
        stdout = capfd.readouterr().out
        assert all(f"\n  {command} " in stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_shows_an_example_and_explains_its_options(
    command: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert hybridtune.search.cli.main._run([command, "--help"], debug=False) == 0
    stdout = capfd.readouterr().out
    assert f"Example: hybridtune {command} " in stdout
    assert f"Usage: hybridtune {command} " in stdout


def test_help_answers_without_the_heavy_imports() -> None:
    program = (
        "import sys\nfrom hybridtune.search.cli.main import main\nsys.argv = ['hybridtune', '--help']\n"
        "try:\n    main()\nfinally:\n"
        "    print(sorted({'ray', 'torch', 'pandas', 'optuna', 'pyarrow', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_space_is_shown_for_the_dataset_that_it_is_made_for(
    folder: Path, dataset: Dataset, capfd: pytest.CaptureFixture[str]
) -> None:
    """What `launch` accepted was refused, as it does not suit the seven horizons of another dataset."""
    weights = "/".join(["2"] * len(dataset.info.horizons))
    (folder / "weights.yaml").write_text(f"base: hybrid\ndimensions:\n  class_weights: '{weights}'\n")
    assert hybridtune.search.cli.main._run(["space", "show", "weights.yaml"], debug=False) == 2
    line = ["space", "show", "weights.yaml", "--dataset", str(dataset.source)]
    assert hybridtune.search.cli.main._run(line, debug=False) == 0
    assert weights in capfd.readouterr().out


def test_a_path_is_printed_as_it_is(tmp_path: Path, dataset: Dataset, capfd: pytest.CaptureFixture[str]) -> None:
    """Rich would take [brackets] for markup and :names: for emoji."""
    run = tmp_path / "[red] :smile: run"
    settings = Settings(
        dataset=dataset.source, dimensions=dict(HYBRID.dimensions), reference=HYBRID.reference, trials=4, concurrent=1
    )
    RunDir.create(run, settings, dataset.info.fingerprint)
    assert hybridtune.search.cli.main._run(["status", str(run)], debug=False) == 0
    assert f"{run}: stopped while searching\n" in capfd.readouterr().out


def test_without_a_limit_a_trial_runs_on_each_core(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Settings] = []

    def launched(
        dataset: str, run: str, say: Say, space: str, values: dict[str, Any], address: None, **how: object
    ) -> RunDir:
        asked.append(new_settings(Path(dataset), space, values, OwnWorkers()))
        return RunDir(Path(run))

    monkeypatch.setattr("hybridtune.search.pipeline.launch", launched)
    monkeypatch.setattr(hybridtune.search.cli.run_commands, "_print_end", lambda run: None)
    assert hybridtune.search.cli.main._run(["launch", "dataset", "--run", "new", "--seed", "7"], debug=False) == 0
    (settings,) = asked
    assert (settings.concurrent, settings.seed, settings.dataset) == (None, 7, (folder / "dataset").resolve())
    assert OwnWorkers().at_once(settings) == cores()
    assert OwnWorkers().at_once(settings.model_copy(update={"concurrent": 5})) == 5
    # No more are drawn than there are GPUs for: the sampler would know nothing of the others.
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for share, most in ((1.0, 2), (0.5, 4), (0.3, 6)):
        assert OwnWorkers().at_once(settings.model_copy(update={"concurrent": 8, "gpus_per_trial": share})) == most
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    # More would wait for cores that its Ray does not have.
    assert OwnWorkers().most_on_a_gpu(settings.model_copy(update={"concurrent": 1})) == 1
    assert settings.space == load_space("hybrid", Shape.of(Dataset(settings.dataset).info))


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a GPU answers is none of this")
def test_a_gpu_is_tried_in_a_process_that_ends(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver held a part of the card for the whole search."""
    monkeypatch.setattr("hybridtune.search.cluster.workers.pick", lambda hardware: (torch.device("cuda", 0), "fp32"))
    settings = Settings(dataset=dataset.source, dimensions=dict(HYBRID.dimensions), reference=HYBRID.reference)
    with pytest.raises((AssertionError, InputError)) as failed:
        OwnWorkers().fit(settings)
    # So an error comes from another process.
    assert type(failed.value.__cause__).__name__ == "_RemoteTraceback"


@pytest.fixture
def preparing(tmp_path: Path, raw: Path) -> Iterator[Command]:
    """A `prepare` of many series, whose workers are at work."""
    (tmp_path / "raw").mkdir()
    for number in range(200):
        for file in raw.rglob("*.parquet"):
            (tmp_path / "raw" / f"{file.stem}_{number}.parquet").hardlink_to(file)
    command = Workplace(tmp_path).start("prepare", "raw", "new", "--horizons", "15", "--expanding-max", "100")
    try:
        deadline = time.monotonic() + 60
        while not any(bars.stat().st_size for bars in tmp_path.glob(".new.*.partial/bars.arrow")):
            assert command.process.poll() is None, command.stderr
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield command
    finally:
        command.kill()


def test_nothing_outlives_a_prepare_that_is_killed_outright(preparing: Command) -> None:
    started = preparing.descendants()
    assert {"spawn_main", "resource_tracker"} <= set(re.findall(r"spawn_main|resource_tracker", str(started)))
    os.kill(preparing.process.pid, signal.SIGKILL)
    preparing.wait(10)
    deadline = time.monotonic() + 10
    while left := {pid for pid in started if is_alive(pid)}:
        assert time.monotonic() < deadline, {pid: started[pid] for pid in left}
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_is_killed_ends_prepare_with_one_line(preparing: Command) -> None:
    worker = next(pid for pid, line in preparing.descendants().items() if "spawn_main" in line)
    os.kill(worker, signal.SIGKILL)
    assert preparing.wait(60) == 2
    assert preparing.stderr.count("\n") == 1
    assert "a worker process was killed, most likely for want of memory: free some" in preparing.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "nowhere.invalid:6379", "x:99999"])
def test_an_address_where_nobody_listens_is_refused_soon(tmp_path: Path, raw: Path, address: str) -> None:
    (tmp_path / "raw").symlink_to(raw)
    before = time.monotonic()
    command = Workplace(tmp_path).run("prepare", "raw", "new", "--address", address)
    assert time.monotonic() - before < 20
    assert command.process.returncode == 2
    assert command.stderr.count("\n") == 1
    assert f"no Ray cluster answers at '{address}' (" in command.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "6379", "head", "head:", ":6379"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(InputError, match=f"named as HOST:PORT or auto, got '{address}'"), joined_ray(address):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", ["synth new --tokens 40000 --minutes 400", "prepare raw new --horizons 15 --expanding-max 100"]
)
@pytest.mark.parametrize("how", ["ctrl-c", "kill"])
def test_an_interrupt_leaves_nothing_half_written(tmp_path: Path, raw: Path, line: str, how: str) -> None:
    """Ctrl-C reaches every process of the terminal's foreground group, kill the one it names."""
    place = Workplace(tmp_path)
    if line.startswith("prepare"):
        (tmp_path / "raw").mkdir()
        for number in range(60):
            for file in raw.rglob("*.parquet"):
                (tmp_path / "raw" / f"{file.stem}_{number}.parquet").hardlink_to(file)
    command = place.start(*line.split())
    try:
        deadline = time.monotonic() + 60
        while not any(p.name.endswith(".partial") and any(p.iterdir()) for p in tmp_path.iterdir()):
            assert command.process.poll() is None, command.stderr
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.1)
        if how == "ctrl-c":
            os.killpg(command.process.pid, signal.SIGINT)
        else:
            command.process.send_signal(signal.SIGTERM)
        assert command.wait(60) == 130
        assert command.stderr.count("\n") == 1
        assert command.stderr.startswith("hybridtune: interrupted")
        names = {p.name for p in tmp_path.iterdir()}
        assert not {name for name in names if "new" in name}
    finally:
        command.kill()


def test_a_dashboard_beside_a_job_is_another_command(capfd: pytest.CaptureFixture[str]) -> None:
    line = ["launch", "dataset", "--run", "s3://runs/run", "--address", "http://127.0.0.1:9", "--dashboard"]
    assert hybridtune.search.cli.main._run(line, debug=False) == 2
    stderr = capfd.readouterr().err
    assert "`hybridtune dashboard s3://runs/run --address http://127.0.0.1:9` shows a job's run" in stderr
    assert stderr.count("\n") == 1
