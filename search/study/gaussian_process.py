"""A Gaussian process (Rasmussen and Williams 2006, algorithm 2.1) over the points of a search.

N points, C coordinates, P dimensions of the space, of which each has a length scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]
SQRT5 = 5.0**0.5
NOISE_RANGE = (1e-3, 1.0)
"""Of the variance of the noise, where the values have a variance of one."""
LENGTH_RANGE = (0.05, 30.0)
FIT_STEPS = 20
JITTER = 1e-8


@dataclass(frozen=True)
class Kernel:
    """Matern 5/2 of variance one, with a length scale for each coordinate, those of a dimension alike, and noise."""

    length_C: Array
    noise: float

    def between(self, x_NC: Array, z_NC: Array) -> Array:
        """(points of x, points of z), without noise."""
        return matern(cdist(x_NC / self.length_C, z_NC / self.length_C))


def matern(distance: Array) -> Array:
    scaled = SQRT5 * distance
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))


class GaussianProcess:
    def __init__(self, x_NC: Array, y_N: Array, kernel: Kernel) -> None:
        self._x_NC = x_NC
        self._kernel = kernel
        covariance = kernel.between(x_NC, x_NC)
        covariance[np.diag_indices(len(x_NC))] += kernel.noise + JITTER
        self._factor = cholesky(covariance, lower=True, check_finite=False)
        self._weights_N = cho_solve((self._factor, True), y_N, check_finite=False)

    def predict(self, z_NC: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the function, without noise, at each point."""
        cross = self._kernel.between(z_NC, self._x_NC)
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = 1.0 - (half**2).sum(axis=0)
        return cross @ self._weights_N, np.sqrt(variance.clip(min=1e-12))


def fitted_kernel(x_NC: Array, y_N: Array, columns: Sequence[slice]) -> Kernel:
    """The kernel of the highest posterior density, found from a fixed start. columns: where the coordinates of each
    dimension are.

    Length scales have the prior of Hvarfner et al. (2024), which grows with the number of dimensions, so that few
    points do not make up structure; the noise has a log-normal one.
    """
    squared_PNN = np.stack([cdist(x_NC[:, each], x_NC[:, each], "sqeuclidean") for each in columns])
    dimensions = len(columns)
    centre = 2**0.5 + 0.5 * np.log(dimensions)
    start = np.append(np.full(dimensions, centre - 1.0), np.log(0.1))
    bounds = [*([tuple(np.log(LENGTH_RANGE))] * dimensions), tuple(np.log(NOISE_RANGE))]
    found = minimize(
        _loss_and_gradient,
        start,
        (squared_PNN, y_N, centre),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": FIT_STEPS},
    )
    length_C = np.empty(x_NC.shape[1])
    for each, log in zip(columns, found.x[:-1], strict=True):
        length_C[each] = np.exp(log)
    return Kernel(length_C, float(np.exp(found.x[-1])))


def _loss_and_gradient(logs: Array, squared_PNN: Array, y_N: Array, centre: float) -> tuple[float, Array]:
    """Negative log posterior of (logarithms of length scales, of the noise), and its gradient."""
    inverse_P, noise = np.exp(-2 * logs[:-1]), np.exp(logs[-1])
    distance = np.sqrt(np.tensordot(inverse_P, squared_PNN, axes=1))
    covariance = matern(distance)
    covariance[np.diag_indices(len(y_N))] += noise + JITTER
    factor = cholesky(covariance, lower=True, check_finite=False)
    inverse = cho_solve((factor, True), np.eye(len(y_N)), check_finite=False)
    weights_N = inverse @ y_N
    loss = 0.5 * y_N @ weights_N + np.log(np.diag(factor)).sum()
    outer = np.outer(weights_N, weights_N) - inverse
    # d matern / d log length = 5/3 (1 + sqrt5 r) exp(-sqrt5 r) * (its share of r squared)
    slope = outer * (5 / 3 * (1 + SQRT5 * distance) * np.exp(-SQRT5 * distance))
    gradient_P = -0.5 * inverse_P * np.tensordot(squared_PNN, slope, axes=([1, 2], [0, 1]))
    gradient_noise = -0.5 * noise * np.trace(outer)
    away_P = (logs[:-1] - centre) / 3
    away = logs[-1] - np.log(0.1)
    loss += 0.5 * ((logs[:-1] - centre) * away_P).sum() + 0.5 * away**2
    return float(loss), np.append(gradient_P + away_P, gradient_noise + away)
