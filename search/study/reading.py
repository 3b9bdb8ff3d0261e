"""study.db, read. Optuna's own storage makes an object of every row that it reads, and reads all reports of a trial
under way again each time: nearly all of the cost of watching a search.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

UNLIKE_NUMBERS = {"INF_POS": float("inf"), "INF_NEG": float("-inf"), "NAN": float("nan")}
"""Type that Optuna gives a value which SQLite cannot hold -> the value."""

distribution_of = cache(json_to_distribution)


def connect(path: Path, seconds: float) -> sqlite3.Connection:
    """seconds: how long to wait for one who writes.

    Refuses to change anything, but opens the file as if to write: what a process that was killed in the middle of a
    write left has to be rolled back first, which SQLite does not do in mode=ro. Never makes the file.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw", uri=True, timeout=seconds, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA query_only = ON")
    return connection


class Found(NamedTuple):
    """What a study holds, all of one moment."""

    user_attrs: dict[str, Any]
    system_attrs: dict[str, Any]
    trials: list[FrozenTrial]
    """In the order of their numbers, those that have begun or changed since the reading before."""


class StudyReader:
    """Each reading takes as long as what is new in the file is long."""

    def __init__(self, path: Path, name: str, seconds: float) -> None:
        """Raises KeyError if the file has no such study; sqlite3.Error, as every reading, if it cannot be read.

        seconds: how long a reading waits for one who writes.
        """
        self.name = name
        self._connection = connect(path, seconds)
        with self._one_moment():
            found = self._rows("SELECT study_id FROM studies WHERE study_name = ?", name).fetchone()
            if found is None:
                raise KeyError(name)
            (self.study_id,) = found
            directions = "SELECT direction FROM study_directions WHERE study_id = ? ORDER BY objective"
            self.directions = [StudyDirection[name] for (name,) in self._rows(directions, self.study_id)]
        self._latest = 0
        """Id of the latest trial that has been read."""
        self._latest_report = 0
        self._open: dict[int, dict[int, float]] = {}
        """Of trials that had not ended: what they had reported."""

    def read(self) -> Found:
        with self._one_moment():
            return Found(self._of_study("user"), self._of_study("system"), self._trials())

    def _of_study(self, whose: str) -> dict[str, Any]:
        rows = self._rows(
            f"SELECT key, value_json FROM study_{whose}_attributes WHERE study_id = ?",  # noqa: S608 names of ours
            self.study_id,
        )
        return {key: json.loads(value) for key, value in rows}

    def _trials(self) -> list[FrozenTrial]:
        rows = self._of_trials("trials", "number, state, datetime_start, datetime_complete", "trial_id")
        params = self._params()
        values = self._values()
        user_attrs = self._attributes("user")
        system_attrs = self._attributes("system")
        # Last, and nothing is read any more after it: a reading that fails has taken nothing for known.
        reports = self._reports()
        trials = []
        for trial, number, state_name, start, complete in rows:
            state = TrialState[state_name]
            distributions, chosen = params[trial]
            trials.append(
                FrozenTrial(
                    number=number,
                    state=state,
                    value=None,
                    values=values.get(trial),
                    datetime_start=_time(start),
                    datetime_complete=_time(complete),
                    params=chosen,
                    distributions=distributions,
                    user_attrs=user_attrs[trial],
                    system_attrs=system_attrs[trial],
                    intermediate_values=reports[trial],
                    trial_id=trial,
                )
            )
            self._latest = max(self._latest, trial)
            if state.is_finished():
                self._open.pop(trial, None)
            else:
                self._open[trial] = reports[trial]
        return trials

    def _params(self) -> dict[int, tuple[dict[str, BaseDistribution], dict[str, Any]]]:
        found: dict[int, tuple[dict[str, BaseDistribution], dict[str, Any]]] = defaultdict(lambda: ({}, {}))
        rows = self._of_trials("trial_params", "param_name, param_value, distribution_json", "param_id")
        for trial, name, value, distribution_json in rows:
            distributions, params = found[trial]
            distributions[name] = distribution_of(distribution_json)
            params[name] = distributions[name].to_external_repr(value)
        return found

    def _values(self) -> dict[int, list[float]]:
        found: dict[int, list[float]] = defaultdict(list)
        for trial, value, kind in self._of_trials("trial_values", "value, value_type", "objective"):
            found[trial].append(_number(value, kind))
        return found

    def _attributes(self, whose: str) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = defaultdict(dict)
        for trial, key, value in self._of_trials(
            f"trial_{whose}_attributes", "key, value_json", f"trial_{whose}_attribute_id"
        ):
            found[trial][key] = json.loads(value)
        return found

    def _reports(self) -> dict[int, dict[int, float]]:
        """Of a trial, all: those known and the new ones, which are never changed once they are there."""
        found: dict[int, dict[int, float]] = defaultdict(
            dict, {trial: dict(known) for trial, known in self._open.items()}
        )
        rows = self._rows(
            "SELECT trial_intermediate_value_id, trial_id, step, intermediate_value, intermediate_value_type"
            " FROM trial_intermediate_values WHERE trial_intermediate_value_id > ? ORDER BY 1",
            self._latest_report,
        ).fetchall()
        for self._latest_report, trial, step, value, kind in rows:
            found[trial][step] = _number(value, kind)
        return found

    def _of_trials(self, table: str, columns: str, order: str) -> list[Any]:
        """Rows of the trials that have begun since the last reading, or had not ended then."""
        unfinished = ",".join("?" * len(self._open))
        of_study = "AND study_id = ?" if table == "trials" else ""
        # The plus keeps SQLite from going through the whole table in this order: it has an index of the trials.
        return self._rows(
            f"SELECT trial_id, {columns} FROM {table}"  # noqa: S608 names of ours
            f" WHERE (trial_id > ? OR trial_id IN ({unfinished})) {of_study} ORDER BY +{order}",
            self._latest,
            *self._open,
            *([self.study_id] if of_study else []),
        ).fetchall()

    def _rows(self, query: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(query, values)

    @contextmanager
    def _one_moment(self) -> Iterator[None]:
        """All reads within see the same state of the file."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")


class StudyView(InMemoryStorage):
    """A study that others write to, as it was when `catch_up` was called last. What is changed in it is in no file."""

    def __init__(self, path: Path, name: str, seconds: float) -> None:
        """As StudyReader."""
        super().__init__()
        self._reader = StudyReader(path, name, seconds)
        self._study = self.create_new_study(self._reader.directions, name)
        self.catch_up()

    def catch_up(self) -> None:
        """Raises sqlite3.Error, and changes nothing, if the file cannot be read now."""
        found = self._reader.read()
        study = self._studies[self._study]
        study.user_attrs, study.system_attrs = found.user_attrs, found.system_attrs
        for trial in found.trials:
            if trial.number == len(study.trials):
                study.trials.append(trial)
                self._trial_id_to_study_id_and_number[trial._trial_id] = (self._study, trial.number)
            else:
                study.trials[trial.number] = trial


def _number(value: float | None, kind: str) -> float:
    return UNLIKE_NUMBERS[kind] if value is None else value


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
