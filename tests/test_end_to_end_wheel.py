"""The wheel as its users have it: installed beside strangers of the names that our folders have, and run from such."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Workplace

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
LEFT_OUT_OF_THE_BASE = ("jinja2", "optuna", "plotly", "ray", "scipy", "sklearn", "sqlalchemy", "tensorboardX", "yaml")


@dataclass(frozen=True)
class Installed:
    """An environment that holds the wheel; what it depends on comes from the environment of these tests."""

    path: Path

    @classmethod
    def make(cls, path: Path, wheel: Path, dependencies: Path) -> "Installed":
        venv.create(path, with_pip=False, symlinks=True)
        installed = cls(path)
        installed.pip("install", "--no-deps", str(wheel))
        # A folder that a .pth file names is searched, but the .pth files in it are not read: so the editable install
        # that these tests run in is not found.
        (installed.site / "dependencies.pth").write_text(f"{dependencies}\n")
        return installed

    @property
    def site(self) -> Path:
        return next(self.path.glob("lib/python*/site-packages"))

    @property
    def hybridtune(self) -> str:
        return str(self.path / "bin" / "hybridtune")

    def pip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        python = str(self.path / "bin" / "python")
        line = [sys.executable, "-m", "pip", "--python", python, *arguments, "-q", "--disable-pip-version-check"]
        return subprocess.run(line, check=True, capture_output=True, text=True)

    def succeed(self, place: Workplace, *arguments: str) -> str:
        command = place.start_program(self.hybridtune, *arguments)
        try:
            assert command.wait() == 0, command.stderr + command.stdout
        finally:
            command.kill()
        return command.stdout


@pytest.fixture(scope="module")
def dependencies() -> Path:
    return Path(sysconfig.get_paths()["purelib"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    line = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), str(ROOT)]
    subprocess.run(line, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A folder whose owner has packages and modules named as our folders are; none of them can be imported."""
    path = tmp_path_factory.mktemp("strangers")
    (path / "data").mkdir()
    for name in ("data/__init__.py", "models.py", "search.py", "spaces.py"):
        (path / name).write_text(f"raise ImportError('{name} is a stranger')\n")
    return Workplace(path)


def test_the_wheel_holds_hybridtune_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"hybridtune"}
    for expected in ("py.typed", "data/read.py", "models/bundle/bundle.py", "search/report/templates/report.html"):
        assert f"hybridtune/{expected}" in names


def test_everything_runs_beside_strangers_of_the_same_names(
    wheel: Path, place: Workplace, dependencies: Path, tmp_path: Path
) -> None:
    installed = Installed.make(tmp_path / "env", wheel, dependencies)
    try:
        installed.pip("install", "--no-deps", "spaces")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no package index at hand: {error.stderr[-200:]}")
    installed.succeed(place, "demo")
    assert (place.path / "demo" / "run" / "report" / "index.html").exists()

    base = tmp_path / "base"
    base.mkdir()
    for package in dependencies.iterdir():
        if package.name.split("-")[0].split(".")[0].lower() not in map(str.lower, LEFT_OUT_OF_THE_BASE):
            (base / package.name).symlink_to(package)
    alone = Installed.make(tmp_path / "alone", wheel, base)
    alone.succeed(place, "predict", "demo/bundle", "demo/raw/launches", "--last", "--out", "alone.parquet")
    predicted = place.path / "demo" / "predictions.parquet"
    assert (place.path / "alone.parquet").read_bytes() == predicted.read_bytes()

    refused = place.start_program(alone.hybridtune, "launch", "demo/dataset", "--run", "other")
    assert refused.wait() == 2
    assert refused.stderr.endswith("which is not installed: pip install 'hybridtune[search]'\n")
    assert refused.stderr.count("\n") == 1
