"""Where a run is, for people and for programs."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from hybridtune.search.dashboard.overview import next_command, stage_in_words
from hybridtune.search.run.lease import latest
from hybridtune.search.run.place import Place
from hybridtune.search.run.run_dir import RunDir, Status
from hybridtune.search.run.stop import is_driven
from hybridtune.search.study.study import config_of, objective_of, open_study, ranked, started, states
from hybridtune.spaces.parameters import Config


class DriverStatus(BaseModel):
    """The process that worked last on a run which is kept in a bucket or on a mount."""

    model_config = ConfigDict(frozen=True)

    host: str
    process: int
    ended: bool
    silent: float
    """Seconds since its last sign of life, by the clocks of two hosts."""
    behind: float
    """Seconds since the oldest change that was not in the place then."""

    def text(self) -> str:
        who = f"process {self.process} on host {self.host}"
        if self.ended:
            return f"{who}, ended"
        return f"{who}, seen {self.silent:.0f} seconds ago, what it had kept {self.behind:.0f} seconds behind"


class RunStatus(BaseModel):
    model_config = ConfigDict(frozen=True)

    run: str
    status: Status
    driven: bool
    """Whether a process works on it."""
    error: str | None
    trials_wanted: int
    trials: dict[str, int]
    """State -> how many."""
    best_trial: int | None
    best_objective: float | None
    best_config: Config | None
    members: int
    """Finalists trained so far."""
    driver: DriverStatus | None
    """None of a run that is kept in its own folder."""
    next_command: str

    def text(self) -> str:
        counted = ", ".join(f"{count} {state}" for state, count in self.trials.items() if count) or "none yet"
        lines = [
            f"{self.run}: {stage_in_words(self.status, driven=self.driven)}",
            f"trials: {counted}; {self.trials_wanted} wanted",
            f"members retrained: {self.members}",
        ]
        if self.best_config is not None:
            values = ", ".join(f"{name}={value}" for name, value in self.best_config.items())
            lines.append(f"best: trial {self.best_trial}, {self.best_objective:.4f}: {values}")
        if self.driver is not None:
            lines.append(f"driver: {self.driver.text()}")
        if self.error is not None:
            lines.append(f"error: {self.error}")
        lines.append(f"next: {self.next_command}")
        return "\n".join(lines)


def read_status(run: RunDir) -> RunStatus:
    document = run.document()
    study = open_study(run) if run.study.exists() else None
    trials = started(study) if study is not None else []
    over = document.status != "searching"
    best = next(ranked(trials, study.direction, over=over), None) if study is not None else None
    return RunStatus(
        run=run.name,
        status=document.status,
        driven=(driven := is_driven(run)),
        error=document.error,
        trials_wanted=document.settings.wanted_trials,
        trials=states(trials),
        best_trial=best.number if best else None,
        best_objective=objective_of(best) if best else None,
        best_config=config_of(best) if best else None,
        members=len(list((run.path / "members").glob("*/member.json"))),
        driver=_driver(run.kept_in) if run.kept_in is not None else None,
        next_command=next_command(run.name, document, driven=driven),
    )


def _driver(place: Place) -> DriverStatus | None:
    lease = latest(place)
    if lease is None:
        return None
    silent = max(0.0, (datetime.now(UTC) - lease.at).total_seconds())
    return DriverStatus(host=lease.host, process=lease.process, ended=lease.ended, silent=silent, behind=lease.behind)
