"""Kills at random moments; benchmarks.crash says what they are and takes more of them."""

from pathlib import Path

import pytest

from benchmarks.crash import crash


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), ("--scheduler", "promotion", "--sampler", "latest")], ids=["asha", "promotion"])
def test_random_kills_of_driver_and_worker_change_nothing_of_a_search(tmp_path: Path, how: tuple[str, ...]) -> None:
    result = crash(tmp_path, kills=6, trials=12, seed=4, how=how)
    assert sum(result["kills"].values()) == 6
    assert min(result["kills"].values()) >= 2
    assert (result["trials"], result["lost"], result["twice"], result["same_search"]) == (12, 0, 0, True)
    assert result["redone_at_most"] <= 1
