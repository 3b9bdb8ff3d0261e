"""A search replayed: the order of what happens, what it costs, what it hands on; the tables that it is replayed on."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from optuna.pruners import BasePruner, HyperbandPruner, SuccessiveHalvingPruner

from benchmarks.many_workers import busy_share
from benchmarks.plain_optuna import PlainOptuna
from benchmarks.replay_arms import ARMS, with_bad_default
from hybridtune.data.schema import InputError
from hybridtune.search.replay.choosers import AnyRow, DrawnRow, ModelledRow
from hybridtune.search.replay.curve_table import CurveTable, Recorded, TableInfo, read_rows, write_rows
from hybridtune.search.replay.schedules import FirstTop, ToTheEnd, promoting, stopping
from hybridtune.search.replay.simulation import Chooser, Report, Schedule, regret, simulate
from hybridtune.search.study import latest_sampler
from hybridtune.spaces.parameters import Config, Float, Space

ITERATIONS = 9
SPACE = Space("line", {"x": Float(low=0.0, high=1.0)}, {"x": 0.5})


def table(losses: list[float], seconds: float = 1.0) -> CurveTable:
    """Row 0 is the default; a row's loss falls to the one given, by a tenth of it an iteration."""
    end_N = np.array(losses)
    curve_NI = end_N[:, None] + 0.1 * np.arange(ITERATIONS - 1, -1, -1)
    params: list[Config] = [{"x": 0.5}, *({"x": place / len(losses)} for place in range(1, len(losses)))]
    return CurveTable(
        name="line",
        space=SPACE,
        params=tuple(params),
        default=0,
        tune_NI=np.where(np.isfinite(end_N)[:, None], curve_NI, np.inf),
        seconds_NI=np.full((len(losses), ITERATIONS), seconds),
        final_N=end_N,
        seed_deviation=0.0,
    )


class InOrder(AnyRow):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.told: list[Report] = []

    def tell(self, report: Report) -> None:
        self.told.append(report)

    def choose(self, left: np.ndarray) -> int:
        return int(left[0])


def test_everybody_to_the_end_costs_the_whole_table_and_hands_on_the_best() -> None:
    lines = table([0.5, 0.9, 0.2, 0.7])
    done = simulate(lines, ToTheEnd(), InOrder(0), trials=4, workers=2)
    assert done.reached == [ITERATIONS] * 4
    assert done.moments[-1].iterations == 4 * ITERATIONS
    assert done.seconds == 2 * ITERATIONS
    assert done.busy_seconds == 4 * ITERATIONS
    assert done.moments[ITERATIONS - 1].row == 0
    assert done.moments[-1].row == 2
    assert regret(lines, [0, 2]).tolist() == pytest.approx([0.3, 0.0])


def test_promotion_trains_the_default_to_its_end_and_of_the_others_a_third() -> None:
    losses = [0.5, *np.linspace(0.1, 0.9, 9).tolist()]
    done = simulate(table(losses), promoting(ITERATIONS, 1, 3), InOrder(0), trials=10, workers=1)
    reached = dict(zip(done.rows, done.reached, strict=True))
    # Ten are at rung 1, of which three went on; of the four at rung 3, the default among them, one more did.
    assert reached == {0: ITERATIONS, 1: ITERATIONS, 2: 3, 3: 3} | dict.fromkeys(range(4, 10), 1)
    assert done.moments[-1].iterations == sum(done.reached) < 10 * ITERATIONS / 2


def test_a_waiting_trial_goes_on_before_another_is_started() -> None:
    # Three at the first rung, the default among them, let the best of them go on, with trials left to start.
    chooser = InOrder(0)
    simulate(table([0.5, 0.1, 0.8, 0.9, 0.95]), promoting(ITERATIONS, 1, 3), chooser, trials=5, workers=1)
    assert [(told.number, told.iteration) for told in chooser.told[ITERATIONS:]] == [
        *[(1, 1), (2, 1), (1, 2), (1, 3)],
        *[(3, 1), (4, 1)],
    ]


def test_the_first_iterations_top_waits_for_all() -> None:
    done = simulate(table([0.5, 0.3, 0.8, 0.2]), FirstTop(4), InOrder(0), trials=4, workers=2)
    assert dict(zip(done.rows, done.reached, strict=True)) == {0: ITERATIONS, 1: 1, 2: 1, 3: ITERATIONS}


@pytest.mark.parametrize("name", ["first iteration's top of 100", "first iteration's top of 300"])
def test_the_first_iterations_top_is_found_in_a_small_table_too(name: str) -> None:
    """It waited for 100 of 4 rows, and continued none."""
    small = table([0.5, 0.3, 0.8, 0.2])
    schedule, chooser = ARMS[name].make(small, 0)
    done = simulate(small, schedule, chooser, ARMS[name].trials, workers=2)
    assert sorted(done.reached) == [1, 1, ITERATIONS, ITERATIONS]


@pytest.mark.parametrize("make", [ToTheEnd, partial(stopping, ITERATIONS, 1, 3), partial(promoting, ITERATIONS, 1, 3)])
@pytest.mark.parametrize("sampler", ["tpe", "latest", "modelled"])
def test_every_row_is_tried_once_and_a_failed_one_is_given_up(make: Callable[[], Schedule], sampler: str) -> None:
    losses = [0.5, np.inf, *np.linspace(0.1, 0.9, 28).tolist()]
    lines = table(losses)
    chooser: Chooser = ModelledRow(lines, 0) if sampler == "modelled" else DrawnRow(lines, sampler, 0)
    done = simulate(lines, make(), chooser, trials=100, workers=3)
    assert sorted(done.rows) == list(range(30))
    assert done.reached[done.rows.index(1)] == 1
    assert done.moments[-1].row != 1


@pytest.mark.parametrize("pruner", [SuccessiveHalvingPruner(min_resource=1), HyperbandPruner(max_resource=ITERATIONS)])
def test_plain_optuna_prunes_and_loses_no_row(pruner: BasePruner) -> None:
    lines = table([0.5, np.inf, *np.linspace(0.1, 0.9, 28).tolist()])
    plain = PlainOptuna(lines, pruner, 0)
    done = simulate(lines, plain, plain, trials=100, workers=3)
    assert (done.rows[0], sorted(done.rows)) == (0, list(range(30)))
    assert 1 < sum(reached == ITERATIONS for reached in done.reached) < 29
    again = PlainOptuna(lines, pruner, 0)
    assert simulate(lines, again, again, trials=100, workers=3) == done


def test_a_model_without_a_prior_draws_nothing_near_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = table([0.5, *np.linspace(0.1, 0.9, 99).tolist()])
    drawn: list[object] = []
    monkeypatch.setattr(latest_sampler, "near", lambda *given: drawn.append(given) or {"x": 0.5})
    for prior in (False, True):
        simulate(lines, promoting(ITERATIONS, 1, 3), ModelledRow(lines, 0, prior=prior), trials=19, workers=1)
        assert bool(drawn) == prior


def test_a_bad_default_is_of_the_worse_half_and_the_one_that_the_space_has() -> None:
    lines = table([0.1, np.inf, *np.linspace(0.2, 0.9, 8).tolist()])
    for seed in range(5):
        bad = with_bad_default(lines, seed)
        assert 0.5 <= bad.final_N[bad.default] < 1.0
        assert bad.space.default() == bad.params[bad.default]


def test_a_lowest_rung_beyond_the_budget_stops_nobody() -> None:
    done = simulate(table([0.5, 0.9, 0.2]), promoting(ITERATIONS, 20, 3), InOrder(0), trials=3, workers=1)
    assert done.reached == [ITERATIONS] * 3


@pytest.mark.parametrize("make", [partial(stopping, ITERATIONS, 1, 3), partial(promoting, ITERATIONS, 1, 3)])
def test_a_default_that_fails_costs_only_itself(make: Callable[[], Schedule]) -> None:
    lines = table([np.inf, *np.linspace(0.1, 0.9, 9).tolist()])
    done = simulate(lines, make(), DrawnRow(lines, "latest", 0), trials=10, workers=2)
    assert (done.rows[0], done.reached[0]) == (0, 1)
    assert sorted(done.rows) == list(range(10))
    assert done.moments[-1].row == 1


def test_a_leader_that_fails_is_no_longer_handed_on() -> None:
    """A search leaves failed trials out as well."""
    begun = table([0.9, 0.1])
    tune_NI = begun.tune_NI.copy()
    tune_NI[1, 3:] = np.inf
    replayed = simulate(replace(begun, tune_NI=tune_NI), ToTheEnd(), InOrder(0), trials=2, workers=2)
    assert [moment.row for moment in replayed.changes] == [0, 1, 0]


def test_a_slow_driver_keeps_workers_waiting() -> None:
    lines = table([0.5] * 12)
    quick = simulate(lines, ToTheEnd(), InOrder(0), trials=12, workers=6)
    slow = simulate(lines, ToTheEnd(), InOrder(0), trials=12, workers=6, decision_seconds=0.5)
    assert quick.seconds == 2 * ITERATIONS
    assert slow.seconds > quick.seconds + 3
    assert slow.busy_seconds == quick.busy_seconds
    # Six begin at 0.5, 1.0, ..., 3.0; the last of all when the last of them is decided after the first six have ended.
    assert slow.last_begun == 3.0 + ITERATIONS + 0.5
    # 54 seconds of the first six and 0.5, 1.0, ..., 2.5 of the next five; nothing of the last one.
    assert busy_share(slow, 1.0, workers=6) == pytest.approx((6 * ITERATIONS + 7.5) / (6 * 12.5))


INFO = TableInfo(
    name="line",
    market="none",
    dataset="0",
    iterations=3,
    samples_per_iteration=1,
    space_name="line",
    dimensions=dict(SPACE.dimensions),
    reference=SPACE.reference,
)


def recorded(configuration: int, x: float, *losses: float, seed: int = 0) -> Recorded:
    ones = [1.0] * len(losses)
    held_out = [loss + 0.1 for loss in losses]
    return Recorded(configuration, "uniform", seed, {"x": x}, False, list(losses), held_out, ones, ones)


ROWS = [
    recorded(0, 0.5, 0.75, 0.5, 0.625),
    recorded(1, 0.25, 0.5, 0.75, 0.75),
    recorded(1, 0.25, 0.25, 0.5, 0.5, seed=1),
]


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_rows(tmp_path / "line.parquet", INFO, ROWS)
    info, rows = read_rows(tmp_path / "line.parquet")
    assert info == INFO
    assert [replace(row, tune_loss=list(row.tune_loss)).tune_loss for row in rows] == [row.tune_loss for row in ROWS]
    read = CurveTable.read(tmp_path / "line.parquet")
    assert read.params == ({"x": 0.5}, {"x": 0.25})
    assert read.default == 0
    # Of the weights with the best tune loss, in the seed that both have.
    assert read.final_N.tolist() == pytest.approx([0.6, 0.6])
    assert read.seed_deviation == pytest.approx(np.std([0.6, 0.35], ddof=1))
    assert read.tune_NI[1].tolist() == [0.5, 0.75, 0.75]


def test_a_failed_training_is_infinite_from_there_on() -> None:
    failed = replace(recorded(1, 0.25, 0.5), failed=True)
    read = CurveTable.of(INFO, [ROWS[0], failed])
    assert read.tune_NI[1].tolist() == [0.5, np.inf, np.inf]
    assert read.final_N[1] == np.inf


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROWS[0], recorded(1, 0.25, 0.5)], "is incomplete: configuration 1 has 1 of 3 iterations"),
        (ROWS[1:], "has no row of the default configuration"),
        ([ROWS[0], ROWS[2]], "has no seed with which all configurations were trained"),
    ],
)
def test_what_cannot_be_replayed_is_refused(rows: list[Recorded], message: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "line.parquet", INFO, rows)
    with pytest.raises(InputError, match=message):
        CurveTable.read(tmp_path / "line.parquet")


def test_another_version_or_another_file_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "line.parquet", INFO.model_copy(update={"version": 2}), ROWS)
    with pytest.raises(InputError, match="has format version 2, this program reads 1"):
        CurveTable.read(tmp_path / "line.parquet")
    (tmp_path / "other.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read as a curve table"):
        CurveTable.read(tmp_path / "other.parquet")
