"""What a search was asked to do."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from hybridtune.models.hardware import DeviceChoice, Hardware, PrecisionChoice
from hybridtune.models.training.config import Budget, Metric
from hybridtune.spaces.parameters import Config, Dimension, Space

if TYPE_CHECKING:
    from hybridtune.data.store import Dataset

AUTO = "auto"
"""For gpus_per_trial, of who wants it measured."""

SchedulerName = Literal["asha", "promotion", "hyperband", "none"]


class Settings(BaseModel):
    """What a search was asked to do. Written once; a resume reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Path
    space_name: str = "hybrid"
    dimensions: dict[str, Dimension]
    reference: Config
    horizons: tuple[int, ...] | None = None
    """Of the dataset's; None: all of them."""
    trials: int = Field(default=50, ge=1)
    iterations: int = Field(default=Budget.iterations, ge=1)
    samples_per_iteration: int = Field(default=Budget.samples_per_iteration, ge=1)
    patience: int = Field(default=Budget.patience, ge=1)
    tune_anchors: int = Field(default=Budget.tune_anchors, ge=1)
    metric: Metric = Budget.metric
    grace_period: int = Field(default=4, ge=1)
    """Iterations before ASHA may stop a trial: its lowest rung."""
    reduction_factor: int = Field(default=3, ge=2)
    """ASHA keeps the best one in so many trials of a rung."""
    scheduler: SchedulerName = "asha"
    sampler: str = "tpe"
    """See search.study.sampler."""
    time_budget: float | None = Field(default=None, gt=0)
    """Seconds of search."""
    stop_after: int | None = Field(default=None, ge=1)
    """Trials without a better one that end the search."""
    warm_start: Path | None = None
    """An earlier run, whose completed trials the sampler learns from."""
    concurrent: int | None = Field(default=None, ge=1)
    """Trials at a time; None: as many as there is room for."""
    gpus_per_trial: float = Field(default=0.0, ge=0, le=1)
    """A training uses one GPU, or a part of it."""
    device: DeviceChoice = "auto"
    precision: PrecisionChoice = "auto"
    micro_batch: int | None = Field(default=None, ge=1)
    """Anchors that go through a model at once; None: a whole batch, less where memory runs out."""
    top_k: int = Field(default=3, ge=1)
    seeds: int = Field(default=2, ge=1)
    seed: int = Field(default=0, ge=0)

    @property
    def space(self) -> Space:
        return Space(self.space_name, self.dimensions, self.reference)

    @property
    def wanted_trials(self) -> int:
        """As many as asked for, but no more than the space has configurations."""
        return int(min(self.trials, self.space.size()))

    def only_horizons(self, dataset: "Dataset") -> "Dataset":
        """The dataset as this run sees it. Raises InputError for a horizon that it does not have."""
        return dataset if self.horizons is None else dataset.only(self.horizons)

    @property
    def shares_gpus(self) -> bool:
        return 0 < self.gpus_per_trial < 1

    @property
    def hardware(self) -> Hardware:
        return Hardware(self.gpus_per_trial, self.device, self.precision)

    @property
    def budget(self) -> Budget:
        return Budget(
            self.iterations, self.samples_per_iteration, self.patience, self.metric, self.tune_anchors, self.micro_batch
        )
