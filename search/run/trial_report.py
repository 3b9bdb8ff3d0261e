"""What a worker reports of its training, and the flat dict in which Tune carries it to the driver."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hybridtune.models.training.progress import Progress


@dataclass(frozen=True)
class Progressed:
    """An iteration went well."""

    progress: Progress
    finished: bool
    """Whether the training has reached its end: the full budget, or its own patience."""
    runs_on: str
    """Device and precision, for people."""
    host: str | None = None
    """Where it ran, by its address: Tune adds it on the way."""

    def to_tune(self) -> dict[str, Any]:
        return asdict(self.progress) | {"finished": self.finished, "runs_on": self.runs_on}


@dataclass(frozen=True)
class Failed:
    """An iteration ended with a loss or a prediction that is not finite; the training ends with it."""

    iteration: int
    reason: str
    """For people."""
    runs_on: str

    def to_tune(self) -> dict[str, Any]:
        return {"iteration": self.iteration, "failure": self.reason, "runs_on": self.runs_on}


TrialReport = Progressed | Failed


def report_from_tune(result: Mapping[str, Any] | None) -> TrialReport | None:
    """None for a training that has not reported yet: Tune's result then holds Tune's own entries alone."""
    if result is None or "runs_on" not in result:
        return None
    if "failure" in result:
        return Failed(result["iteration"], result["failure"], result["runs_on"])
    progress = Progress(**{field.name: result[field.name] for field in fields(Progress)})
    return Progressed(progress, result["finished"], result["runs_on"], result.get("node_ip"))
