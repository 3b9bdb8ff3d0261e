"""On what and where a training runs."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from hybridtune.search.cluster.hosts import not_on

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController


def room(gpus: float, avoided: frozenset[str]) -> PlacementGroupFactory:
    """A core and `gpus` of a node that is none of `avoided`."""
    return PlacementGroupFactory([{"CPU": 1, "GPU": gpus}], bundle_label_selector=[not_on(avoided)])


class Placing(FIFOScheduler):  # type: ignore[misc]
    """A scheduler that decides for each trial of Tune's, when it is added, where it may run."""

    def __init__(self, gpus: float, avoided: Callable[[], frozenset[str]]) -> None:
        """gpus: of each that need not be alone. avoided: the nodes that must not be used, which may change."""
        super().__init__()
        self._gpus = gpus
        self._avoided = avoided

    def on_trial_add(self, tune_controller: "TuneController", trial: Trial) -> None:
        # How many may be live is up to the searcher. By itself Tune would start their workers one after another.
        tune_controller.update_max_pending_trials(sys.maxsize)
        gpus = max(self._gpus, 1.0) if trial.config.get("alone") else self._gpus
        trial.update_resources(room(gpus, self._avoided()))

    def choose_trial_to_run(self, tune_controller: "TuneController") -> None:
        """Leaves it to Tune. FIFO's choice is the first that waits: it would be given the worker of a trial that ends,
        and the worker that starts for it would be thrown away, again and again where trials are shorter than a start.
        """
