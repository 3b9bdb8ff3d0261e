"""Twenty kills at random moments; benchmarks.crash says what they are."""

from pathlib import Path

import pytest

from benchmarks.crash import crash


@pytest.mark.slow
def test_twenty_random_kills_of_driver_and_worker_change_nothing_of_a_search(tmp_path: Path) -> None:
    result = crash(tmp_path, kills=20, trials=20, seed=0)
    assert sum(result["kills"].values()) == 20
    assert min(result["kills"].values()) >= 5
    assert (result["trials"], result["lost"], result["twice"], result["same_search"]) == (20, 0, 0, True)
    assert result["redone_at_most"] <= 1
