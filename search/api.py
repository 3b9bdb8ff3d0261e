"""From Python what the command line does. `hybridtune` hands these names on."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridtune.data.info import DatasetInfo
from hybridtune.data.prepare import prepare as prepare_dataset
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.search import pipeline
from hybridtune.search.cluster.maps import process_map
from hybridtune.search.dashboard.notebook import NotebookView, in_notebook
from hybridtune.search.dashboard.status import RunStatus, read_status
from hybridtune.search.run import opening
from hybridtune.search.run.curves import read_curves
from hybridtune.search.run.datasets import is_url, keep_at
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.say import Say
from hybridtune.search.study.study import open_study

if TYPE_CHECKING:
    import pandas as pd

    from hybridtune.models.bundle import Bundle
    from hybridtune.search.report.comparison import Comparison

AnyPath = str | Path


@dataclass(frozen=True)
class Run:
    """A run, whatever its stage."""

    name: str
    """Its folder, or s3://bucket/prefix."""

    def status(self) -> RunStatus:
        """Stage, trials by state, the best so far; works while the run is under way."""
        return read_status(self._directory)

    def trials(self) -> "pd.DataFrame":
        """One row for each trial that has started, as in trials.parquet; works while the run is under way."""
        from hybridtune.search.study.trials_table import trials_table

        run = self._directory
        return trials_table(open_study(run), read_curves(run.curve_log))

    def scores(self) -> "Comparison":
        """The ensemble and its rivals on the test slice. Raises InputError if the run is not finished."""
        from hybridtune.search.report.comparison import compare

        return compare(self._directory)

    def export(self, out: AnyPath) -> "Bundle":
        """Writes the bundle and opens it. Raises InputError if the run is not finished or `out` exists."""
        from hybridtune.models.bundle import Bundle
        from hybridtune.search.export import export

        export(self._directory, Path(out))
        return Bundle.load(Path(out))

    @property
    def _directory(self) -> RunDir:
        return opening.open_run(self.name)


def prepare(raw: AnyPath, out: AnyPath, processes: int = 1, **settings: Any) -> DatasetInfo:
    """Writes the dataset `out`, a folder or s3://bucket/prefix, from the series below `raw`.

    settings: fields of hybridtune.data.prepare_config.PrepareConfig, for example `horizons=(15, 60)`. With more than
    one process a script needs `if __name__ == "__main__":` around the call. Raises InputError for what cannot be used.
    """
    config = PrepareConfig(**settings)
    with process_map(processes) if processes > 1 else nullcontext(map) as parallel_map:

        def make(folder: Path) -> DatasetInfo:
            return prepare_dataset(Path(raw), folder, config, parallel_map)

        return keep_at(str(out), make) if is_url(out) else make(Path(out))


def launch(
    dataset: AnyPath,
    run: AnyPath,
    space: str = "hybrid",
    say: Say | None = None,
    address: str | None = None,
    or_resume: bool = False,
    **settings: Any,
) -> Run:
    """Searches, retrains the best, blends them and writes the report into the new `run`; it and the dataset are each a
    folder or s3://bucket/prefix.

    space: the name of a shipped space or a YAML file. address: of a Ray cluster to search on, HOST:PORT or auto; all
    its hosts reach `run`. or_resume: goes on with `run` if it is there, as it was set. say: called with a line now and
    then; None prints it, or shows the run as one table in a notebook. settings: fields of
    hybridtune.search.run.settings.Settings, for example `trials=30, iterations=20`. Raises InputError or, naming the
    setting, pydantic's ValidationError for what cannot be used.
    """
    say, watching = _shown(say)
    done = pipeline.launch(dataset, run, say, space, settings, address, or_resume=or_resume, watching=watching)
    return Run(done.name)


def resume(
    run: AnyPath,
    trials: int = 0,
    seconds: float | None = None,
    say: Say | None = None,
    address: str | None = None,
    **changes: Any,
) -> Run:
    """Goes on with a run that was stopped.

    trials: so many more than it was to have, also for a finished run. seconds: how long its search may still take.
    address: of a Ray cluster to go on with. changes: other fields of hybridtune.search.pipeline.Changes, for example
    `concurrent=4`.
    """
    wanted = pipeline.Changes(more_trials=trials, more_seconds=seconds, **changes)
    say, watching = _shown(say)
    return Run(pipeline.resume(opening.open_run(run), say, wanted, address, watching=watching).name)


def _shown(say: Say | None) -> tuple[Say, pipeline.Watching]:
    if say is None and in_notebook():
        view = NotebookView()
        return view.say, view.watching
    return say or print, pipeline.unwatched


def open_run(run: AnyPath) -> Run:
    """Raises InputError if there is no such run."""
    return Run(opening.open_run(run).name)
