"""README and docs: every command that they show is one, those for one machine work, every link leads somewhere."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import typer
from conftest import SMALL_SPACE, Workplace

from hybridtune.search.cli.main import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
QUICK = "--space space.yaml --iterations 2 --samples-per-iteration 256 --grace-period 1 --top-k 1 --seeds 1"
IN_THEIR_ORDER = (
    "hybridtune prepare LAUNCHES dataset",
    "hybridtune launch dataset --run run --trials 50",
    "hybridtune export run bundle",
    "hybridtune predict bundle NEW_LAUNCHES --out predictions.parquet",
    "hybridtune status run",
    "hybridtune doctor",
    "hybridtune predict bundle NEW_LAUNCHES --out last.parquet --last --explain attention",
    "hybridtune compare run other_run bundle",
    "hybridtune prepare LAUNCHES exact --labels exact --collected-until 2026-03-01T12:00",
    "hybridtune prepare TABLE.csv dataset_of_table --columns id=coin,time=ts,price=last",
)
"""Those for one machine, each with what it needs from those before it."""
ELSEWHERE = ("hybridtune prepare LAUNCHES dataset --horizons 15,30,60", "hybridtune dashboard run")
"""Shown beside one of the above, or run by a test of its own."""


def blocks(document: Path) -> Iterator[str]:
    """Lines that are set as code."""
    for line in document.read_text().splitlines():
        if line.startswith("    "):
            yield line.strip()


def commands() -> list[str]:
    found = []
    for document in DOCUMENTS:
        found += [line for line in blocks(document) if line.startswith("hybridtune ")]
    return list(dict.fromkeys(found))


def mentions() -> list[str]:
    """Within sentences; what has an ellipsis is only named."""
    text = "\n".join(document.read_text() for document in DOCUMENTS)
    found = [" ".join(one.split()) for one in re.findall(r"`(hybridtune [^`]+)`", text)]
    return [one for one in dict.fromkeys(found) if "..." not in one and not one.isupper() and "COMMAND" not in one]


@pytest.mark.parametrize("line", [*commands(), *mentions()])
def test_a_command_that_is_shown_is_one(line: str) -> None:
    """It parses: its command, its options and the kinds of their values are there."""
    words = [word for word in shlex.split(line, comments=True)[1:] if word != "--debug"]
    group = typer.main.get_command(app)
    with group.make_context("hybridtune", list(words), resilient_parsing=True) as context:
        if words[0].startswith("--"):
            assert words[0] == "--help" or words[0] in {name for parameter in group.params for name in parameter.opts}
            return
        name, command, rest = group.resolve_command(context, list(words))  # type: ignore[attr-defined]
        if "--help" in rest:
            return
        try:
            command.make_context(name, rest, parent=context).close()
        except typer.TyperException as error:
            # A sentence may name a command without what it works on.
            if line in commands() or "Missing" not in error.format_message():
                raise


@pytest.mark.slow
def test_the_commands_for_one_machine_work_as_they_are_shown(tmp_path: Path) -> None:
    local = [line for line in commands() if not re.search(r"s3://|--address|RUN\b", line)]
    assert set(local) == {*IN_THEIR_ORDER, *ELSEWHERE}
    place = Workplace(tmp_path)
    place.succeed("synth", "raw", "--tokens", "60", "--minutes", "800")
    (tmp_path / "raw" / "launches").rename(tmp_path / "LAUNCHES")
    shutil.copytree(tmp_path / "LAUNCHES", tmp_path / "NEW_LAUNCHES")
    names = {"datetime": "ts", "price": "last"}
    series = [pd.read_parquet(path).assign(coin=path.stem) for path in (tmp_path / "LAUNCHES").rglob("*.parquet")]
    pd.concat(series).rename(columns=names).to_csv(tmp_path / "TABLE.csv", index=False)
    (tmp_path / "space.yaml").write_text(SMALL_SPACE)
    for line in IN_THEIR_ORDER:
        if line.startswith("hybridtune compare"):
            shutil.copytree(tmp_path / "run", tmp_path / "other_run")
        # As few trials as will do, and horizons that so few minutes have.
        shorter = line.replace("--trials 50", f"--trials 2 {QUICK}")
        shorter += " --horizons 15,60 --expanding-max 240" if line.startswith("hybridtune prepare") else ""
        done = place.run(*shlex.split(shorter)[1:])
        if "no member of the bundle has attention" in done.stderr:
            # So few trials may leave the basic LSTM alone in the ensemble.
            done = place.run(*shlex.split(shorter.partition(" --explain")[0])[1:])
        assert done.process.returncode == 0, done.stderr
    for name in ("predictions.parquet", "last.parquet"):
        assert (tmp_path / name).exists()


@pytest.mark.slow
def test_the_python_of_the_readme_works_as_it_is_shown(tmp_path: Path) -> None:
    script = "\n".join(dict.fromkeys(line[4:] for line in python_block(ROOT / "README.md")))
    options = {
        '"dataset")': '"dataset", horizons=(15, 60), expanding_max=240)',
        "trials=50": 'trials=2, space="space.yaml", iterations=2, samples_per_iteration=256, top_k=1, seeds=1',
    }
    for shown, shorter in options.items():
        assert script.count(shown) == 1
        script = script.replace(shown, shorter)
    place = Workplace(tmp_path)
    place.succeed("synth", "raw", "--tokens", "60", "--minutes", "800")
    (tmp_path / "raw" / "launches").rename(tmp_path / "LAUNCHES")
    (tmp_path / "space.yaml").write_text(SMALL_SPACE)
    (tmp_path / "script.py").write_text(script)
    ran = place.start_program(sys.executable, "script.py")
    try:
        assert ran.wait() == 0, ran.stderr
    finally:
        ran.kill()
    assert (tmp_path / "bundle" / "bundle.json").exists()


def python_block(document: Path) -> Iterator[str]:
    inside = False
    for line in document.read_text().splitlines():
        inside = line.strip() == "import hybridtune" or (inside and (line.startswith("    ") or not line))
        if inside and line:
            yield line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        assert "://" in target or (document.parent / target).exists(), target


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_git_runs_what_make_lint_runs() -> None:
    shown = re.findall(r"entry: (\S.*?),", (ROOT / ".pre-commit-config.yaml").read_text())
    recipe = (ROOT / "Makefile").read_text().split("lint: install\n")[1].split("\n\n")[0]
    assert [line.strip().removeprefix("@").replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()] == shown
