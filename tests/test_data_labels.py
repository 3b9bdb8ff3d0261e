"""Small tables of labels, worked out by hand."""

import numpy as np
import pytest

from hybridtune.data.labels import labels
from hybridtune.data.schema import MASKED, Ties

X = MASKED


def column(price: list[float], horizon: int, ties: Ties = "drop", observed: list[int] | None = None) -> list[int]:
    seen = np.array([1] * len(price) if observed is None else observed, dtype=bool)
    y_TH = labels(np.array(price, dtype=float), seen, (horizon,), ties)
    assert y_TH.dtype == np.int8
    return y_TH[:, 0].tolist()


def test_a_higher_price_is_one_and_a_lower_one_zero() -> None:
    assert column([1, 2, 1.5, 1.5000001], 1) == [1, 0, 1, X]


@pytest.mark.parametrize(("ties", "tie"), [("drop", X), ("down", 0)])
def test_an_exact_tie_is_masked_or_down(ties: Ties, tie: int) -> None:
    assert column([3, 3, 4, 3], 1, ties) == [tie, 1, 0, X]
    assert column([3, 3, 4, 3], 3, ties) == [tie, X, X, X]


@pytest.mark.parametrize("ties", ["drop", "down"])
def test_an_unobserved_minute_is_masked_at_either_end(ties: Ties) -> None:
    assert column([1, 1, 2, 1, 3], 1, ties, observed=[1, 0, 1, 1, 1]) == [X, X, 0, 1, X]
    assert column([1, 1, 2, 1, 3], 2, ties, observed=[1, 0, 1, 1, 1]) == [1, X, 1, X, X]


@pytest.mark.parametrize("horizon", [3, 4, 1000])
def test_a_horizon_beyond_the_end_is_masked(horizon: int) -> None:
    assert column([1, 2, 3], horizon) == [X, X, X]


def test_each_horizon_has_its_column() -> None:
    y_TH = labels(np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4, dtype=bool), (1, 2, 3))
    assert y_TH.tolist() == [[1, 1, 1], [0, 1, X], [1, X, X], [X, X, X]]
