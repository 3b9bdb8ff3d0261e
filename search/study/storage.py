"""study.db as Optuna's Study sees it: read once, kept in memory, and written through."""

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from hybridtune.search.study.reading import StudyReader


class StudyMemory(InMemoryStorage):
    """A study of which the latest trial can be taken back, until it is kept."""

    def keep(self, trial_id: int) -> None:
        """From now on the trial is one of the study's."""

    def take_back(self, trial_id: int) -> None:
        """Forgets the latest trial, which was not kept; its number is free again."""
        study_id, number = self._trial_id_to_study_id_and_number.pop(trial_id)
        trials = self._studies[study_id].trials
        assert number == len(trials) - 1
        trials.pop()


class StudyFile(StudyMemory):
    """Samplers read trials in memory, and a whole draw is one transaction of the file. Optuna's own storage takes one
    for each of its parameters and reads the trials back several times: most of the time of a draw.

    One process at a time may write through it (the run's lock sees to that); any number may read the file meanwhile.
    A draw is in the file from `keep` on. Every other change is there when the method returns.
    """

    def __init__(self, file: RDBStorage, reader: StudyReader) -> None:
        """reader: of the same file, which has read nothing yet."""
        super().__init__()
        self._file = file
        self._file_study = reader.study_id
        study = super().create_new_study(reader.directions, reader.name)
        found = reader.read()
        for key, value in found.user_attrs.items():
            super().set_study_user_attr(study, key, value)
        for key, value in found.system_attrs.items():
            super().set_study_system_attr(study, key, value)
        self._in_file: dict[int, int] = {}
        for trial in found.trials:
            self._in_file[super().create_new_trial(study, trial)] = trial._trial_id

    def keep(self, trial_id: int) -> None:
        """Writes a trial that `create_new_trial` made, with all that it was given since."""
        if trial_id not in self._in_file:
            trial = self.get_trial(trial_id)
            self._in_file[trial_id] = self._file.create_new_trial(self._file_study, trial)

    def take_back(self, trial_id: int) -> None:
        assert trial_id not in self._in_file
        super().take_back(trial_id)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        if template_trial is not None:
            self.keep(trial_id)
        return trial_id

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._file.set_study_user_attr(self._file_study, key, value)
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._file.set_study_system_attr(self._file_study, key, value)
        super().set_study_system_attr(study_id, key, value)

    def set_trial_param(self, trial_id: int, name: str, internal: float, distribution: BaseDistribution) -> None:
        if trial_id in self._in_file:
            self._file.set_trial_param(self._in_file[trial_id], name, internal, distribution)
        super().set_trial_param(trial_id, name, internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if trial_id in self._in_file:
            self._file.set_trial_state_values(self._in_file[trial_id], state, values)
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, value: float) -> None:
        if trial_id in self._in_file:
            self._file.set_trial_intermediate_value(self._in_file[trial_id], step, value)
        super().set_trial_intermediate_value(trial_id, step, value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id in self._in_file:
            self._file.set_trial_user_attr(self._in_file[trial_id], key, value)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id in self._in_file:
            self._file.set_trial_system_attr(self._in_file[trial_id], key, value)
        super().set_trial_system_attr(trial_id, key, value)
