"""A training as a trial has it, without a search around it."""

from hybridtune.data.store import Dataset
from hybridtune.models.architectures.registry import build_model
from hybridtune.models.architectures.scaler import train_bars
from hybridtune.models.device import pick, use_one_core
from hybridtune.models.hardware import Hardware
from hybridtune.models.training.config import Budget
from hybridtune.models.training.fit import Training
from hybridtune.spaces.parameters import Config
from hybridtune.spaces.trial_config import Shape, trial_config


def new_training(
    dataset: Dataset, params: Config, budget: Budget, seed: int, hardware: Hardware | None = None
) -> Training:
    """On one core of this process, which computes as a trial does from then on."""
    use_one_core()
    config = trial_config(params, Shape.of(dataset.info), budget)
    model = build_model(config.model, seed)
    model.scaling.fit(train_bars(dataset))
    return Training(model, dataset, config.train, seed, *pick(hardware or Hardware()))
