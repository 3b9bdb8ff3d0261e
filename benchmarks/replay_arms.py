"""Claim: on every curve table the search reaches what plain Ray Tune ends with after at most a third of its iterations.

Each arm searches each table with the same seeds. What plain Ray Tune (its OptunaSearch with ASHA, the default
configuration first, 100 trials) ends with in the median is the aim: by how much the configuration that it would hand to
retraining is worse than the best of the table, in the held-out loss. Told for each arm: the iterations, of all trials
together, until it hands on one that is as good, as a share of what plain Ray Tune spends; the interval is that of a
bootstrap over tables and, within them, seeds, in which the aim and what plain Ray Tune spends are found anew. All arms
but plain Ray Tune may begin 300 configurations, so that none ends for want of them; the seeds in which one never gets
there count as such.

Also claimed: at none of 12 budgets is our search worse than random draws with ASHA, or than the first iteration's top,
by more than a margin that was fixed beforehand: a twentieth of the gap from the median configuration of the table to
its best. The differences of all tables are averaged in shares of that gap; the band around them holds at all budgets
together (bootstrap of the largest deviation).

`python -m benchmarks.replay_arms FOLDER_OF_PUBLIC_TABLES`; those of benchmarks/curves that hold enough configurations
are taken as well. `--dense` replays on what a forest makes of each table, see benchmarks.surrogate. `--kept FILE` keeps
every search as it ends, and takes those that are there: one file for each state of the code and the tables.
"""

import argparse
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import BasePruner, HyperbandPruner, SuccessiveHalvingPruner
from threadpoolctl import threadpool_limits

from benchmarks.machine import cpu_name
from benchmarks.plain_optuna import PlainOptuna
from benchmarks.public_tables import read_public
from benchmarks.stock import StockSchedule, StockSearch
from benchmarks.surrogate import dense
from hybridtune.search.cluster.maps import cores, process_map
from hybridtune.search.replay.choosers import AnyRow, DrawnRow, ModelledRow
from hybridtune.search.replay.curve_table import CurveTable
from hybridtune.search.replay.schedules import FirstTop, ToTheEnd, promoting, stopping
from hybridtune.search.replay.simulation import Chooser, Replayed, Schedule, regret, simulate
from hybridtune.spaces.parameters import Space

CURVES = Path(__file__).parent / "curves"
TRIALS, MORE_TRIALS = 100, 300
"""Configurations that plain Ray Tune begins, and that all others may begin."""
BOOTSTRAPS = 1000
FEWEST_ROWS = 200

Arm = Callable[[CurveTable, int], tuple[Schedule, Chooser]]
"""From a table and a seed."""


def _stock(grace: int, factor: int) -> Arm:
    return lambda table, seed: (StockSchedule(table.iterations, grace, factor), StockSearch(table, seed))


def _stopping(grace: int, factor: int, sampler: str | None) -> Arm:
    return lambda table, seed: (stopping(table.iterations, grace, factor), _chooser(table, sampler, seed))


def _promoting(grace: int, sampler: str | None) -> Arm:
    return lambda table, seed: (promoting(table.iterations, grace, 3), _chooser(table, sampler, seed))


def _first_top(trials: int) -> Arm:
    return lambda table, seed: (FirstTop(min(trials, len(table.params))), AnyRow(seed))


def _optuna(make: Callable[[int], BasePruner]) -> Arm:
    """make: from the budget."""

    def arm(table: CurveTable, seed: int) -> tuple[Schedule, Chooser]:
        plain = PlainOptuna(table, make(table.iterations), seed)
        return plain, plain

    return arm


def _chooser(table: CurveTable, sampler: str | None, seed: int) -> Chooser:
    if sampler is None:
        return AnyRow(seed)
    return ModelledRow(table, seed) if sampler == "latest" else DrawnRow(table, sampler, seed)


@dataclass(frozen=True)
class Contender:
    make: Arm
    trials: int = MORE_TRIALS
    bad_default: bool = False
    """Whether it begins with a configuration of the worse half of the table in place of the default."""


ARMS = {
    "stock 4/3": Contender(_stock(4, 3), TRIALS),
    "stock 1/4": Contender(_stock(1, 4), TRIALS),
    "stock 1/3 with more trials": Contender(_stock(1, 3)),
    "stock 1/4 with more trials": Contender(_stock(1, 4)),
    "random": Contender(lambda table, seed: (ToTheEnd(), AnyRow(seed))),
    "random, stopping 4/3": Contender(_stopping(4, 3, None)),
    "random, stopping 1/3": Contender(_stopping(1, 3, None)),
    "random, stopping 1/4": Contender(_stopping(1, 4, None)),
    "TPE, stopping 4/3": Contender(_stopping(4, 3, "tpe")),
    "TPE, stopping 1/3": Contender(_stopping(1, 3, "tpe")),
    "Optuna's TPE and SuccessiveHalving": Contender(_optuna(lambda iterations: SuccessiveHalvingPruner())),
    "Optuna's TPE and Hyperband": Contender(_optuna(lambda iterations: HyperbandPruner(max_resource=iterations))),
    "first iteration's top of 100": Contender(_first_top(TRIALS), TRIALS),
    "first iteration's top of 300": Contender(_first_top(MORE_TRIALS)),
    "random, promotion": Contender(_promoting(1, None)),
    "TPE, promotion": Contender(_promoting(1, "tpe")),
    "latest, stopping 4/3": Contender(_stopping(4, 3, "latest")),
    "latest, stopping 1/3": Contender(_stopping(1, 3, "latest")),
    "latest by the closest row, promotion": Contender(
        lambda table, seed: (promoting(table.iterations, 1, 3), DrawnRow(table, "latest", seed))
    ),
    "latest without a prior, promotion": Contender(
        lambda table, seed: (promoting(table.iterations, 1, 3), ModelledRow(table, seed, prior=False))
    ),
    "latest, promotion": Contender(_promoting(1, "latest")),
    "stock 4/3, bad default": Contender(_stock(4, 3), TRIALS, bad_default=True),
    "latest, promotion, bad default": Contender(_promoting(1, "latest"), bad_default=True),
}
STOCKS = ("stock 4/3", "stock 1/4", "stock 4/3, bad default")
OURS = "latest, promotion"
RIVALS = ("random, stopping 4/3", "first iteration's top of 100", "first iteration's top of 300")
BUDGETS = 12
MARGIN = 0.05
BAD = 2.0
"""In gaps from the median configuration to the best."""


@dataclass(frozen=True)
class Course:
    """Of one search: after how many iterations of all trials which regret is handed on. J changes."""

    iterations_J: NDArray[np.int64]
    regret_J: NDArray[np.float64]
    spent: int

    @property
    def final(self) -> float:
        return float(self.regret_J[-1])

    def after(self, iterations: float) -> float:
        """The regret of what is handed on once so many are spent; before any, of the first."""
        return float(self.regret_J[max(0, int(np.searchsorted(self.iterations_J, iterations, side="right")) - 1)])

    def until(self, aim: float) -> float:
        """Infinite if it never gets there."""
        there = np.flatnonzero(self.regret_J <= aim)
        return float(self.iterations_J[there[0]]) if len(there) else np.inf


Task = tuple[Path, str, int]
"""A table, an arm and a seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("public", type=Path, nargs="?", help="folder of public tables")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    parser.add_argument("--dense", action="store_true")
    parser.add_argument("--kept", type=Path, help="file of the searches that have ended")
    given = parser.parse_args()
    own = [path for path in sorted(CURVES.glob("*.parquet")) if len(CurveTable.read(path).params) >= FEWEST_ROWS]
    paths = [*own, *sorted(given.public.glob("*.parquet") if given.public else [])]
    names = list(dict.fromkeys([*STOCKS, *given.arms]))
    tasks = [(path, name, seed) for path in paths for name in names for seed in range(given.seeds)]
    searched = partial(course, workers=given.workers, as_dense=given.dense)
    courses = kept_courses(given.kept) if given.kept else {}
    with process_map(cores()) as parallel_map:
        left = [task for task in tasks if task not in courses]
        for task, found in zip(left, parallel_map(searched, left), strict=True):
            courses[task] = found
            if given.kept:
                keep(given.kept, task, found)
    said = {"benchmark": "replay_arms", "machine": {"cpu": cpu_name(), "cores": cores()}, "seeds": given.seeds}
    said |= {"workers": given.workers, "dense": given.dense, "tables": [path.stem for path in paths]}
    print(json.dumps(said | dict(compared(courses, paths, names, given.seeds, given.dense))))


def course(task: Task, workers: int, as_dense: bool = False) -> Course:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    # Small matrices: threads would only get into each other's way.
    threadpool_limits(1)
    path, name, seed = task
    table = read(path, as_dense)
    contender = ARMS[name]
    table = with_bad_default(table, seed) if contender.bad_default else table
    replayed = simulate(table, *contender.make(table, seed), trials=contender.trials, workers=workers)
    return changes(table, replayed)


@cache
def read(path: Path, as_dense: bool) -> CurveTable:
    """Once in each process."""
    table = CurveTable.read(path) if path.parent == CURVES else read_public(path)
    return dense(table) if as_dense else table


def with_bad_default(table: CurveTable, seed: int) -> CurveTable:
    """The default is a configuration of the worse half of those that did not fail, by chance."""
    ranked = np.argsort(table.final_N)[: np.isfinite(table.final_N).sum()]
    default = int(np.random.default_rng([seed, 25]).choice(ranked[len(ranked) // 2 :]))
    space = Space(table.space.name, table.space.dimensions, table.params[default])
    return replace(table, space=space, default=default)


def changes(table: CurveTable, replayed: Replayed) -> Course:
    kept = replayed.changes
    iterations = np.array([moment.iterations for moment in kept])
    return Course(iterations, regret(table, [moment.row for moment in kept]), replayed.moments[-1].iterations)


Courses = dict[Task, Course]


def kept_courses(file: Path) -> Courses:
    """One a line of the file, if there is one."""
    lines = file.read_text().splitlines() if file.exists() else []
    return {
        (Path(path), name, seed): Course(np.array(iterations), np.array(regrets), spent)
        for path, name, seed, iterations, regrets, spent in map(json.loads, lines)
    }


def keep(file: Path, task: Task, found: Course) -> None:
    path, name, seed = task
    line = [str(path), name, seed, found.iterations_J.tolist(), found.regret_J.tolist(), found.spent]
    with file.open("a") as out:
        out.write(json.dumps(line) + "\n")


def compared(
    courses: Courses, paths: list[Path], names: list[str], seeds: int, as_dense: bool
) -> Iterator[tuple[str, object]]:
    for stock in STOCKS:
        of_tables = {}
        for name in names:
            pairs = [
                [(courses[path, stock, seed], courses[path, name, seed]) for seed in range(seeds)] for path in paths
            ]
            per_table = [shares_of(of_seeds) for of_seeds in pairs]
            of_tables[name] = {
                "share": round(float(np.median([np.median(shares) for shares in per_table])), 2),
                "interval": [round(value, 2) for value in interval(pairs)],
                "by_table": [round(float(np.median(shares)), 2) for shares in per_table],
                "reached": round(float(np.mean([np.isfinite(shares).mean() for shares in per_table])), 2),
            }
        yield f"iterations until {stock} as a share of its own", of_tables
    if OURS in names:
        gaps = [gap(read(path, as_dense)) for path in paths]
        rivals = [name for name in RIVALS if name in names]
        yield "worse at 12 budgets", {rival: worse(courses, paths, gaps, rival, seeds) for rival in rivals}
    yield "regret by budget", by_budget(courses, paths, names, seeds, as_dense)
    yield "spent", {name: _median(courses, paths, name, seeds, "spent") for name in names}
    yield "final_regret", {name: _median(courses, paths, name, seeds, "final") for name in names}


Pairs = Sequence[tuple[Course, Course]]
"""Of each seed, on one table: plain Ray Tune's search and the arm's."""


def shares_of(pairs: Pairs) -> NDArray[np.float64]:
    """Of each seed: the arm's iterations until the aim, as a share of what plain Ray Tune spends."""
    aim = float(np.median([stock.final for stock, _ in pairs]))
    spent = float(np.median([stock.spent for stock, _ in pairs]))
    return np.array([found.until(aim) / spent for _, found in pairs])


def worse(courses: Courses, paths: list[Path], gaps: list[float], rival: str, seeds: int) -> dict[str, object]:
    """By how much ours hands on a worse configuration than the rival, in gaps: mean and upper end at each budget."""
    differences = np.empty((len(paths), seeds, BUDGETS))
    for place, (path, gap) in enumerate(zip(paths, gaps, strict=True)):
        most = np.median([courses[path, STOCKS[0], seed].spent for seed in range(seeds)])
        budgets = np.geomspace(most / 100, most, BUDGETS)
        for seed in range(seeds):
            ours, theirs = courses[path, OURS, seed], courses[path, rival, seed]
            # A failed configuration has no loss: it counts as a bad one.
            differences[place, seed] = [
                min(ours.after(budget) / gap, BAD) - min(theirs.after(budget) / gap, BAD) for budget in budgets
            ]
    mean = differences.mean(axis=(0, 1))
    rng = np.random.default_rng(0)
    drawn = np.empty((BOOTSTRAPS, BUDGETS))
    for number in range(BOOTSTRAPS):
        tables = rng.integers(len(paths), size=len(paths))
        drawn[number] = np.mean(
            [differences[table, rng.integers(seeds, size=seeds)].mean(axis=0) for table in tables], 0
        )
    deviation = drawn.std(axis=0) + 1e-12
    # By as much as a drawn mean is too low the one measured may be too low as well.
    width = np.quantile(((mean - drawn) / deviation).max(axis=1), 0.95)
    upper = mean + width * deviation
    return {"mean": mean.round(3).tolist(), "upper": upper.round(3).tolist(), "holds": bool((upper <= MARGIN).all())}


def by_budget(
    courses: Courses, paths: list[Path], names: list[str], seeds: int, as_dense: bool
) -> dict[str, list[float]]:
    """In gaps from the median configuration to the best: the mean over tables of the median over seeds, once shares of
    what plain Ray Tune spends are spent; the shares under "budget".
    """
    shares = np.geomspace(0.01, 1.0, BUDGETS)
    told = {"budget": shares.round(3).tolist()}
    for name in names:
        medians = []
        for path in paths:
            most = np.median([courses[path, STOCKS[0], seed].spent for seed in range(seeds)])
            scale = gap(read(path, as_dense))
            searches = [courses[path, name, seed] for seed in range(seeds)]
            medians.append([np.median([min(one.after(s * most) / scale, BAD) for one in searches]) for s in shares])
        told[name] = np.mean(medians, axis=0).round(4).tolist()
    return told


def gap(table: CurveTable) -> float:
    """From the median configuration to the best."""
    return float(np.median(table.final_N) - table.final_N.min())


def interval(tables: Sequence[Pairs]) -> tuple[float, float]:
    """95%, of the median over tables of the median over seeds. Tables and seeds are drawn anew, and with them the aim
    and what plain Ray Tune spends, which are chance as well.
    """
    rng = np.random.default_rng(0)
    medians = []
    for _ in range(BOOTSTRAPS):
        of_tables = []
        for place in rng.integers(len(tables), size=len(tables)):
            pairs = tables[place]
            drawn = [pairs[seed] for seed in rng.integers(len(pairs), size=len(pairs))]
            of_tables.append(np.median(shares_of(drawn)))
        medians.append(np.median(of_tables))
    low, high = np.quantile(medians, [0.025, 0.975], method="nearest")
    return float(low), float(high)


def _median(courses: Courses, paths: list[Path], name: str, seeds: int, what: str) -> list[float]:
    values = [[getattr(courses[path, name, seed], what) for seed in range(seeds)] for path in paths]
    return [round(float(np.median(each)), 5) for each in values]


if __name__ == "__main__":
    main()
