"""The public names as a script uses them."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import SMALL_SPACE, Workplace

import hybridtune
from hybridtune.data.schema import InputError

pytestmark = pytest.mark.slow

SCRIPT = """
import hybridtune

if __name__ == "__main__":
    hybridtune.prepare("raw/launches", "dataset", processes=2, horizons=(15, 60), expanding_max=240)
    budget = {"iterations": 2, "samples_per_iteration": 512, "grace_period": 1, "concurrent": 1}
    run = hybridtune.launch("dataset", "run", space="space.yaml", trials=1, top_k=1, seeds=1, **budget)
    print(run.status().status, len(run.trials()))
    run = hybridtune.resume(run.name, trials=1)
    print(run.status().status, len(run.trials()))
"""


def test_a_script_prepares_launches_and_extends(finished: Workplace, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SMALL_SPACE)
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "raw").symlink_to(finished.path / "raw")
    command = Workplace(tmp_path).start_program(sys.executable, "script.py")
    try:
        assert command.wait() == 0, command.stderr
    finally:
        command.kill()
    lines = command.stdout.splitlines()
    assert "done 1" in lines
    assert lines[-1] == "done 2"


def test_a_finished_run_is_read_and_exported(finished: Workplace, tmp_path: Path) -> None:
    run = hybridtune.open_run(finished.path / "run")
    assert run.status().status == "done"
    stored = pd.read_parquet(finished.path / "run" / "trials.parquet")
    pd.testing.assert_frame_equal(run.trials(), stored, check_dtype=False)
    assert run.scores().horizons == (15, 60)
    bundle = run.export(tmp_path / "bundle")
    assert bundle.document.horizons == (15, 60)
    # The whole documents differ by their intervals: NaN, with so few launch hours, equals nothing.
    assert hybridtune.Bundle.load(str(tmp_path / "bundle")).document.members == bundle.document.members
    with pytest.raises(InputError, match="bundle exists already"):
        run.export(tmp_path / "bundle")


def test_mistakes_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run directory"):
        hybridtune.open_run(tmp_path)
    with pytest.raises(InputError):
        hybridtune.launch(tmp_path, tmp_path / "run")
