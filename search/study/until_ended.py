"""Trials that are looked at until they have ended, and not again: what is known of a study at no cost that grows."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial


class UntilEnded:
    """Of one study. A trial that has ended never changes; one that comes from the queue even gets its parameters one
    after another.
    """

    def __init__(self) -> None:
        self._seen = 0
        self.open: list[int] = []
        """Numbers of those that had not ended at the last look, ascending."""

    def look(self, trials: Sequence[FrozenTrial]) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """Those that have ended since the last look, and those that have not ended. trials: all of the study."""
        looked_at = [trials[number] for number in (*self.open, *range(self._seen, len(trials)))]
        self._seen = len(trials)
        ended = [trial for trial in looked_at if trial.state.is_finished()]
        not_ended = [trial for trial in looked_at if not trial.state.is_finished()]
        self.open = [trial.number for trial in not_ended]
        return ended, not_ended
