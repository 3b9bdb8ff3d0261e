"""A Gaussian process (Rasmussen and Williams 2006, algorithm 2.1) over the points of a search.

N points, C coordinates, P dimensions of the space, of which each has a length scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize
from scipy.spatial.distance import cdist, pdist

Array = NDArray[np.float64]
Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]
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
    decay = np.exp(-scaled)
    # In place: large temporary arrays take longer than what is computed.
    rising = scaled / 3
    rising += 1
    rising *= scaled
    rising += 1
    rising *= decay
    return np.asarray(rising)


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
    squared_PD = np.stack([pdist(x_NC[:, each], "sqeuclidean") for each in columns])
    dimensions = len(columns)
    centre = 2**0.5 + 0.5 * np.log(dimensions)
    start = np.append(np.full(dimensions, centre - 1.0), np.log(0.1))
    bounds = [*([tuple(np.log(LENGTH_RANGE))] * dimensions), tuple(np.log(NOISE_RANGE))]
    found = minimize(
        _loss_and_gradient,
        start,
        (squared_PD, y_N, np.triu_indices(len(y_N), 1), centre),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": FIT_STEPS},
    )
    length_C = np.empty(x_NC.shape[1])
    for each, log in zip(columns, found.x[:-1], strict=True):
        length_C[each] = np.exp(log)
    return Kernel(length_C, float(np.exp(found.x[-1])))


def _loss_and_gradient(logs: Array, squared_PD: Array, y_N: Array, pair: Pairs, centre: float) -> tuple[float, Array]:
    """Negative log posterior of (logarithms of length scales, of the noise), and its gradient.

    D pairs of points, each once, at the places `pair` above a matrix's diagonal: a fit is most of what a draw costs.
    """
    inverse_P, noise = np.exp(-2 * logs[:-1]), np.exp(logs[-1])
    scaled_D = SQRT5 * np.sqrt(inverse_P @ squared_PD)
    decay_D = np.exp(-scaled_D)
    covariance = np.zeros((len(y_N), len(y_N)))
    covariance[pair] = (1 + scaled_D + scaled_D**2 / 3) * decay_D
    covariance[np.diag_indices(len(y_N))] = 1 + noise + JITTER
    factor = cholesky(covariance, check_finite=False)
    inverse, failed = dpotri(factor)
    assert failed == 0
    weights_N = cho_solve((factor, False), y_N, check_finite=False)
    loss = 0.5 * y_N @ weights_N + np.log(np.diag(factor)).sum()
    # d matern / d log length = 5/3 (1 + sqrt5 r) exp(-sqrt5 r) * (its share of r squared)
    outer_D = weights_N[pair[0]] * weights_N[pair[1]] - inverse[pair]
    gradient_P = -inverse_P * (squared_PD @ (outer_D * (5 / 3 * (1 + scaled_D) * decay_D)))
    gradient_noise = -0.5 * noise * (weights_N @ weights_N - np.trace(inverse))
    away_P = (logs[:-1] - centre) / 3
    away = logs[-1] - np.log(0.1)
    loss += 0.5 * ((logs[:-1] - centre) * away_P).sum() + 0.5 * away**2
    return float(loss), np.append(gradient_P + away_P, gradient_noise + away)
