"""The public names: what they are, where they come from, and that looking costs nothing."""

import ast
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import hybridtune

ROOT = Path(__file__).parents[1]
FOLDERS = ("data", "models", "spaces", "search")
HEAVY = {"numpy", "optuna", "pandas", "pyarrow", "pydantic", "ray", "sklearn", "torch"}


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_the_public_names() -> None:
    names = ["Bundle", "__version__", "launch", "load_space", "open_run", "prepare", "resume"]
    assert hybridtune.__all__ == names
    assert hybridtune.__version__ == version("hybridtune")
    for name in names:
        assert getattr(hybridtune, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Sampler'"):
        _ = hybridtune.Sampler


def test_importing_it_loads_nothing_heavy() -> None:
    out = run(f"import sys, hybridtune; print(sorted({HEAVY} & set(sys.modules)))")
    assert out == "[]\n"


def test_a_worker_imports_nothing_that_training_does_not_need() -> None:
    """A worker of its own is started for every stage of every search: each second counts many times."""
    needless = {"optuna", "plotly", "scipy", "sklearn", "sqlalchemy", "starlette", "typer"}
    out = run(f"import sys, hybridtune.search.workers.trainable; print(sorted({needless} & set(sys.modules)))")
    assert out == "[]\n"


@pytest.mark.parametrize("command", ["status", "--version", "--help"])
def test_a_look_loads_no_torch(command: str, tmp_path: Path) -> None:
    program = (
        f"import sys\nsys.argv = ['hybridtune', *{[command, *([str(tmp_path)] if command == 'status' else [])]!r}]\n"
        "from hybridtune.search.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print(sorted({'torch', 'ray', 'pandas'} & set(sys.modules)))"
    )
    assert run(program).splitlines()[-1] == "[]"


def test_our_own_modules_are_imported_below_hybridtune_only() -> None:
    """A bare `import data` finds the folder in a checkout and a stranger's package elsewhere."""
    found = []
    for path in [p for folder in (*FOLDERS, "tests", "benchmarks") for p in (ROOT / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            found += [f"{path}: {name}" for name in names if name.split(".")[0] in FOLDERS]
    assert found == []


EACH_ALONE = """
import os, sys, traceback
import numpy, optuna, pandas, pyarrow, torch  # once for all: none of them is ours

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "ray":
            assert "TUNE_DISABLE_SIGINT_HANDLER" in os.environ, "Ray is imported before it is told how to behave"

sys.meta_path.insert(0, Watch())
failed = []
for module in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            __import__(module)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        failed.append(module)
print(failed)
"""


@pytest.mark.slow
def test_each_module_can_be_imported_first() -> None:
    """Without circles, and with Ray's environment set before Ray is imported."""
    paths = [path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    modules = ["hybridtune." + ".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    line = [sys.executable, "-W", "ignore", "-c", EACH_ALONE, *modules]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=clean)
    assert done.stdout == "[]\n", done.stderr
