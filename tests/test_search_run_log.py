"""A run's log, and what it keeps away from the terminal."""

import logging
import warnings
from pathlib import Path

import pytest

from hybridtune.search.run.log import logged


def test_what_is_said_is_logged_and_what_others_say_is_only_logged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    others = logging.getLogger("ray.tune")
    for text in ("first", "second"):
        with logged(tmp_path / "log.txt", said.append) as say:
            say(text)
            others.error("from Ray")
            warnings.warn("from Python", UserWarning, stacklevel=1)
    assert said == ["first", "second"]
    assert capfd.readouterr().err == ""
    lines = (tmp_path / "log.txt").read_text().splitlines()
    own = [line.split(" hybridtune: ")[1] for line in lines if " hybridtune: " in line]
    assert own == said
    assert sum("from Ray" in line for line in lines) == 2
    assert sum("from Python" in line for line in lines) == 2


def test_an_error_leaves_the_loggers_as_they_were(tmp_path: Path) -> None:
    before = [(logging.getLogger(name).handlers, logging.getLogger(name).propagate) for name in ("ray", "optuna")]
    with pytest.raises(RuntimeError), logged(tmp_path / "log.txt", print):
        raise RuntimeError
    after = [(logging.getLogger(name).handlers, logging.getLogger(name).propagate) for name in ("ray", "optuna")]
    assert after == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_a_full_disk_is_not_told_by_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    said: list[str] = []
    with logged(tmp_path / "log.txt", said.append) as say:
        say("a line")
        logging.getLogger("ray").error("from Ray")
    assert said == ["a line"]
    assert capfd.readouterr().err == ""
