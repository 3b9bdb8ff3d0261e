"""How the members' probabilities are weighed. Pure: probabilities and labels in, weights out.

Shapes: A anchors, H horizons, N members.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from hybridtune.models.loss_and_auc import EPSILON

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

Method = Callable[[Floats, Labels], Floats]
"""p_NAH and y_AH (below 0 for unknown) -> weights_NH, which sum to one over the members."""

SHRINKAGE = 0.01
"""Weight of the squared distance from uniform weights: a few hundred correlated anchors fit noise."""
SMALLEST_WEIGHT = 1e-3

FIXED = {"basic_lstm": 0.4, "hybrid_lstm": 0.6}
"""Weights of the reference ensemble: of all members of an architecture together."""

BAGS, SMALLEST_BAG, ROUNDS = 20, 3, 20
"""Of greedy selection: each bag sees a random half of the members, of few members more, and picks at most so often."""


def methods(architectures: Sequence[str]) -> Mapping[str, Method]:
    """Those that fit these members; in case of a tie the first wins."""
    every: dict[str, Method] = {"uniform": uniform, "convex": convex, "greedy": greedy}
    if set(FIXED) <= set(architectures):
        every["fixed"] = partial(fixed, architectures)
    return every | {"best_single": best_single}


def two_class_horizons(y_AH: Labels) -> NDArray[np.bool_]:
    """Whether a horizon has labels of both classes; where it has not, every method weighs uniformly."""
    two_class_H: NDArray[np.bool_] = (y_AH == 1).any(axis=0) & (y_AH == 0).any(axis=0)
    return two_class_H


def uniform(p_NAH: Floats, y_AH: Labels) -> Floats:  # noqa: ARG001 the one signature of a method
    return np.full((p_NAH.shape[0], p_NAH.shape[2]), 1 / p_NAH.shape[0])


def fixed(architectures: Sequence[str], p_NAH: Floats, y_AH: Labels) -> Floats:  # noqa: ARG001
    """0.4 for the basic LSTMs and 0.6 for the hybrids, shared equally among each; nothing for others."""
    weights_N = np.array([FIXED.get(name, 0.0) / architectures.count(name) for name in architectures])
    return np.tile(weights_N[:, None], (1, p_NAH.shape[2]))


def best_single(p_NAH: Floats, y_AH: Labels) -> Floats:
    """All on the member with the lowest mean log loss over the horizons."""
    two_class_H = two_class_horizons(y_AH)
    weights_NH = uniform(p_NAH, y_AH)
    if two_class_H.any():
        weights_NH[:] = 0.0
        weights_NH[np.argmin(_mean_losses(p_NAH[:, :, two_class_H], y_AH[:, two_class_H]))] = 1.0
    return weights_NH


def convex(p_NAH: Floats, y_AH: Labels) -> Floats:
    """Weights of each horizon on the simplex that minimise its log loss, shrunk towards uniform."""
    weights_NH = uniform(p_NAH, y_AH)
    for h in np.flatnonzero(two_class_horizons(y_AH)):
        weights_NH[:, h] = _convex_weights(p_NAH[:, :, h], y_AH[:, h])
    return weights_NH


def greedy(p_NAH: Floats, y_AH: Labels) -> Floats:
    """Selection with replacement by the mean log loss over the horizons, bagged (Caruana et al. 2004, sections 2.1
    and 2.3): from each of some random halves of the members, add what helps most until nothing does.
    """
    two_class_H = two_class_horizons(y_AH)
    weights_NH = uniform(p_NAH, y_AH)
    if not two_class_H.any():
        return weights_NH
    count = len(p_NAH)
    size = max(-(-count // 2), min(count, SMALLEST_BAG))
    rng = np.random.default_rng(0)
    picks_N = np.zeros(count)
    for _ in range(BAGS):
        bag = np.sort(rng.choice(count, size=size, replace=False))
        picks_N[bag] += _selected(p_NAH[np.ix_(bag, np.arange(len(y_AH)), two_class_H)], y_AH[:, two_class_H])
    weights_NH[:] = (picks_N / picks_N.sum())[:, None]
    return weights_NH


def mix(p_NAH: Floats, weights_NH: Floats) -> Floats:
    """p_AH: the weighted mean of the members' probabilities."""
    p_AH: Floats = np.einsum("nah,nh->ah", p_NAH, weights_NH)
    return p_AH


def _mean_losses(p_NAH: Floats, y_AH: Labels) -> Floats:
    """losses_N: log loss, first over the known labels of each horizon, then over the horizons."""
    known_AH = y_AH >= 0
    likelihood_NAH = np.where(y_AH == 1, p_NAH, 1 - p_NAH).clip(EPSILON, 1)
    losses_NH: Floats = -(np.log(likelihood_NAH) * known_AH).sum(axis=1) / known_AH.sum(axis=0)
    losses_N: Floats = losses_NH.mean(axis=1)
    return losses_N


def _selected(p_NAH: Floats, y_AH: Labels) -> Floats:
    """shares_N of one bag."""
    picks_N = np.zeros(len(p_NAH))
    total_AH, lowest = np.zeros(p_NAH.shape[1:]), np.inf
    for size in range(1, ROUNDS + 1):
        losses_N = _mean_losses((total_AH + p_NAH) / size, y_AH)
        best = int(np.argmin(losses_N))
        if losses_N[best] >= lowest:
            break
        lowest = losses_N[best]
        picks_N[best] += 1
        total_AH += p_NAH[best]
    shares_N: Floats = picks_N / picks_N.sum()
    return shares_N


def _convex_weights(p_NA: Floats, y_A: Labels) -> Floats:
    known = y_A >= 0
    p, y = p_NA[:, known], y_A[known] == 1
    count = len(p)
    uniform_N = np.full(count, 1 / count)

    def loss(weights_N: Floats) -> tuple[float, Floats]:
        mixed = (weights_N @ p).clip(EPSILON, 1 - EPSILON)
        likelihood = np.where(y, mixed, 1 - mixed)
        gradient = -(np.where(y, p, -p) / likelihood).mean(axis=1) + 2 * SHRINKAGE * (weights_N - uniform_N)
        return -np.log(likelihood).mean() + SHRINKAGE * ((weights_N - uniform_N) ** 2).sum(), gradient

    result = minimize(
        loss,
        uniform_N,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones_like(w)},
    )
    weights_N: Floats = np.where(result.x < SMALLEST_WEIGHT, 0.0, result.x)
    normed_N: Floats = weights_N / weights_N.sum()
    return normed_N
