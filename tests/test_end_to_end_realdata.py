"""Real market prices from files to predictions. At one minute they hold almost no signal: what is asserted is that
the path works and that the numbers are honest about it, not that it makes money.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL_SPACE, Workplace
from markupsafe import escape

from hybridtune.data.store import Dataset
from hybridtune.search.finalists.predictions import BASE_RATE
from hybridtune.search.report.blocks import FEWEST_BLOCKS
from hybridtune.search.report.comparison import Comparison, compare
from hybridtune.search.run.run_dir import RunDir

REALDATA = Path(__file__).parents[2] / "shared" / "realdata" / "binance_um_2025"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REALDATA.is_dir(), reason=f"the real series are not on this machine: no {REALDATA}"),
]

HORIZONS = (15, 60)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("real"))
    (place.path / "space.yaml").write_text(SMALL_SPACE)
    place.succeed("prepare", str(REALDATA), "dataset", "--horizons", "15,60", "--expanding-max", "240", "--folds", "2")
    place.succeed(
        *("launch", "dataset", "--run", "run", "--space", "space.yaml", "--trials", "2", "--iterations", "2"),
        *("--samples-per-iteration", "512", "--grace-period", "1", "--top-k", "1", "--seeds", "1", "--concurrent", "1"),
    )
    place.succeed("export", "run", "bundle")
    place.succeed("predict", "bundle", str(REALDATA), "--out", "predictions.parquet", "--last")
    return place


@pytest.fixture(scope="module")
def comparison(place: Workplace) -> Comparison:
    return compare(RunDir.open(place.path / "run"))


def test_every_series_is_used_or_accounted_for(place: Workplace) -> None:
    info = Dataset(place.path / "dataset").info
    files = len(list(REALDATA.glob("*.parquet")))
    kept = sum(part.series + part.purged for part in info.slices.values())
    assert kept + len(info.rejected) == files
    assert kept > 0.9 * files
    for part in info.slices.values():
        assert part.anchors > 0
        # Real prices rise about as often as they fall.
        assert all(0.2 < share < 0.8 for share in part.up_share)


def test_every_series_gets_a_prediction_at_every_horizon(place: Workplace) -> None:
    table = pd.read_parquet(place.path / "predictions.parquet")
    counts = table.groupby("series")["horizon"].agg(list)
    assert set(counts.index) == {path.stem for path in REALDATA.glob("*.parquet")}
    assert all(sorted(horizons) == list(HORIZONS) for horizons in counts)
    assert table["probability"].between(0, 1, inclusive="neither").all()
    # A model without much to go by does not claim to be sure.
    assert table["probability"].between(0.1, 0.9).mean() > 0.9


def test_every_auc_stands_inside_an_interval_that_admits_what_is_not_known(comparison: Comparison) -> None:
    assert comparison.horizons == HORIZONS
    for key, row in comparison.rows.items():
        for score in row.scores.values():
            assert score.metrics.auc is not None
            if score.blocks >= FEWEST_BLOCKS and key != BASE_RATE:
                assert score.auc_low < score.metrics.auc < score.auc_high
                # Were every block of time a single independent outcome, the interval would be 2 * 1.96 *
                # sqrt(1 / (3 * blocks)) wide; a tenth of that would be a pretence.
                assert score.auc_high - score.auc_low > 0.1 * 3.92 * np.sqrt(1 / (3 * score.blocks))


def test_the_verdict_says_what_the_scores_say(place: Workplace, comparison: Comparison) -> None:
    skilled = [h for h, score in comparison.ensemble.scores.items() if score.skill]
    claimable = [h for h, score in comparison.ensemble.scores.items() if score.blocks >= FEWEST_BLOCKS]
    assert set(skilled) <= set(claimable)
    if not claimable:
        expected = "No claim of skill: at no horizon"
    elif not skilled:
        expected = "No skill shown: at no horizon"
    elif len(skilled) == len(HORIZONS):
        expected = "Skill shown: at every horizon"
    else:
        expected = f"Skill shown at {'/'.join(map(str, skilled))} minutes"
    assert comparison.verdict.startswith(expected)
    page = RunDir.open(place.path / "run").report.read_text()
    assert f"{escape(comparison.verdict)} 2 configurations were tried" in page


def test_nobody_scores_what_only_a_look_ahead_could(comparison: Comparison) -> None:
    for row in comparison.rows.values():
        assert all(0.3 < (score.metrics.auc or 0) < 0.7 for score in row.scores.values())
