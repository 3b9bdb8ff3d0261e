"""AdamW over the components of a model, each at its own rate, and the course of the rate over a training."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch

from hybridtune.models.architectures.forecaster import Component, Forecaster
from hybridtune.models.training.config import Schedule

RATES: Final[dict[Component, float]] = {"encoder": 1.0, "attention": 0.5, "head": 2.0}
"""Learning rate of each kind of component, in shares of the configured one."""


WARMUP: Final = 0.05
"""Share of all steps in which the rate rises to its peak, if that is not more than an iteration: no trial is judged
before it has learnt at the full rate.
"""
LOWEST: Final = 0.05
"""Share of the peak at which either schedule ends."""
PLATEAU_ITERATIONS: Final = 3
"""Iterations without a better objective after which the plateau schedule lowers the rate."""
PLATEAU_FACTOR: Final = 0.5


def make_optimizer(model: Forecaster, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) with parameter groups for each kind of component: what weighs inputs decays;
    biases, norms and embeddings, which say where things lie, do not.
    """
    decays = decaying(model)
    groups = [
        {"params": chosen, "rate": RATES[component]} | ({} if decay else {"weight_decay": 0.0})
        for component, parameters in by_component(model).items()
        for decay in (True, False)
        if (chosen := [parameter for parameter in parameters if (parameter in decays) == decay])
    ]
    # The fused kernel updates all parameters in one pass over memory.
    return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["rate"]


def by_component(model: Forecaster) -> dict[Component, list[torch.nn.Parameter]]:
    """Every parameter of the model under the kind of component that it belongs to."""
    groups: dict[Component, list[torch.nn.Parameter]] = {component: [] for component in RATES}
    for name, parameter in model.named_parameters():
        part = name.partition(".")[0]
        assert part in model.components, f"{type(model).__name__} does not say what {part} is for"
        groups[model.components[part]].append(parameter)
    return {component: parameters for component, parameters in groups.items() if parameters}


def decaying(model: Forecaster) -> set[torch.nn.Parameter]:
    """Matrices that weigh what comes in."""
    tables = {p for module in model.modules() if isinstance(module, torch.nn.Embedding) for p in module.parameters()}
    return {
        parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and parameter not in tables and not name.endswith("embedding_SD")
    }


def rate_share(schedule: Schedule, share_done: float, objectives: Sequence[float], iterations: int) -> float:
    """Share of the peak learning rate.

    share_done: of all steps, those of `iterations`. objectives: the best value so far after each iteration. A function
    of these alone, so a training that is resumed goes on at the same rate. Linear warm-up; then a cosine (Loshchilov
    and Hutter 2017, equation 5) or a halving whenever the objective has not improved for some iterations.
    """
    warmup = min(WARMUP, 1 / iterations)
    warm = min(1.0, (share_done + 1e-3) / (warmup + 1e-3))
    if schedule == "plateau":
        return warm * max(LOWEST, PLATEAU_FACTOR ** plateaus(objectives))
    if warm < 1:
        return warm
    turn = (share_done - warmup) / (1 - warmup)
    return LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * turn)) / 2


def plateaus(objectives: Sequence[float]) -> int:
    """How often the objective stood still for PLATEAU_ITERATIONS; after each time the count begins anew."""
    count = waited = 0
    for before, after in pairwise(objectives):
        waited = waited + 1 if after == before else 0
        if waited == PLATEAU_ITERATIONS:
            count, waited = count + 1, 0
    return count
