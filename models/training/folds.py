"""One configuration trained on several walk-forward folds side by side and scored by their mean."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from hybridtune.models.training.config import Metric, higher_is_better
from hybridtune.models.training.fit import Training
from hybridtune.models.training.progress import Progress, best_place, is_best, is_finished

MEANS = ("train_loss", "tune_loss", "tune_auc")


class FoldedTraining:
    """Trains every fold for an iteration at a time. To a search it looks like a single Training whose iteration is
    as many anchors of each fold, and whose metrics are the means over the folds.
    """

    def __init__(self, parts: Sequence[Training]) -> None:
        assert parts
        self.parts = parts
        self.config = parts[0].config
        self.history: list[Progress] = []

    @property
    def iteration(self) -> int:
        return len(self.history)

    @property
    def runs_on(self) -> str:
        return self.parts[0].runs_on

    @property
    def finished(self) -> bool:
        return is_finished(self.history, self.config)

    def run_iteration(self) -> Progress:
        """Raises NonFiniteLossError if any fold does."""
        parts = [part.train_and_look() for part in self.parts]
        progress = mean_progress(parts, self.history, self.config.metric)
        self.history.append(progress)
        if is_best(self.history):
            for part in self.parts:
                part.keep()
        if self.parts[0].decides(self.history):
            self.history[-1] = replace(progress, objective_on_all=self._objective_on_all())
        return self.history[-1]

    def _objective_on_all(self) -> float:
        """The mean metric of the kept weights, which are those of the best mean and of no fold's own best."""
        kept = best_place(self.history)
        return float(
            np.mean(
                [
                    getattr(part.history[kept], self.config.metric) if part.sees_all else part.objective_on_all()
                    for part in self.parts
                ]
            )
        )

    def return_to_best(self) -> None:
        for part in self.parts:
            part.return_to_best()

    def widen(self) -> None:
        for part in self.parts:
            part.widen()

    def state(self) -> dict[str, Any]:
        return {
            "parts": [part.state() for part in self.parts],
            "history": [asdict(progress) for progress in self.history],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        for part, part_state in zip(self.parts, state["parts"], strict=True):
            part.load_state(part_state)
        self.history = [Progress(**progress) for progress in state["history"]]


def mean_progress(parts: Sequence[Progress], history: Sequence[Progress], metric: Metric) -> Progress:
    """The folds' progress as one: means of the metrics, sums of anchors and seconds. The objective is the best mean so
    far, not the mean of each fold's best: a configuration is kept at one iteration.
    """
    means = {name: float(np.mean([getattr(part, name) for part in parts])) for name in MEANS}
    best = max if higher_is_better(metric) else min
    return Progress(
        iteration=parts[0].iteration,
        samples=sum(part.samples for part in parts),
        objective=best([means[metric], *(progress.objective for progress in history)]),
        seconds=sum(part.seconds for part in parts),
        micro_batch=min(part.micro_batch for part in parts),
        train_loss=means["train_loss"],
        tune_loss=means["tune_loss"],
        tune_auc=means["tune_auc"],
    )
