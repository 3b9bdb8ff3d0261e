"""Small tables of labels, worked out by hand."""

import numpy as np
import pytest

from hybridtune.data.labels import Labels, labels
from hybridtune.data.schema import MASKED, LabelRule, Ties

X = MASKED


def made(
    price: list[float],
    horizon: int,
    ties: Ties = "drop",
    rule: LabelRule = "last",
    observed: list[int] | None = None,
    collected: int | None = None,
) -> Labels:
    seen = np.array([1] * len(price) if observed is None else observed, dtype=bool)
    until = len(price) if collected is None else collected
    found = labels(np.array(price, dtype=float), seen, (horizon,), until, ties, rule)
    assert found.y_TH.dtype == np.int8
    # Each has a label or lacks it for one cause.
    lost = np.stack([found.unobserved_TH, found.ended_TH, found.tied_TH & (ties == "drop")])
    assert (lost.sum(axis=0) == (found.y_TH == MASKED)).all()
    return found


def column(price: list[float], horizon: int, ties: Ties = "drop", **others: object) -> list[int]:
    return made(price, horizon, ties, **others).y_TH[:, 0].tolist()  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["last", "exact"])
def test_a_higher_price_is_one_and_a_lower_one_zero(rule: LabelRule) -> None:
    assert column([1, 2, 1.5, 1.5000001], 1, rule=rule) == [1, 0, 1, X]


@pytest.mark.parametrize(("ties", "tie"), [("drop", X), ("down", 0)])
def test_an_exact_tie_is_masked_or_down(ties: Ties, tie: int) -> None:
    assert column([3, 3, 4, 3], 1, ties) == [tie, 1, 0, X]
    assert column([3, 3, 4, 3], 3, ties) == [tie, X, X, X]
    assert made([3, 3, 4, 3], 1, ties).tied_TH[:, 0].tolist() == [True, False, False, False]


@pytest.mark.parametrize("ties", ["drop", "down"])
def test_the_last_price_by_then_counts_and_nothing_is_known_of_an_unobserved_minute(ties: Ties) -> None:
    # A minute without a trade carries the price before it.
    tie = X if ties == "drop" else 0
    assert column([1, 1, 2, 1, 3], 1, ties, observed=[1, 0, 1, 1, 1]) == [tie, X, 0, 1, X]
    assert column([1, 1, 2, 1, 3], 2, ties, observed=[1, 0, 1, 1, 1]) == [1, X, 1, X, X]


def test_by_the_exact_rule_a_bar_has_to_stand_there() -> None:
    assert column([1, 1, 2, 1, 3], 1, rule="exact", observed=[1, 0, 1, 1, 1]) == [X, X, 0, 1, X]
    # However long was collected after it.
    assert column([1, 2, 3], 1, rule="exact", collected=100) == [1, 1, X]


def test_a_series_that_stops_trading_has_an_outcome_as_long_as_it_was_collected() -> None:
    found = made([4, 8, 1, 2], 3, collected=6)
    assert found.y_TH[:, 0].tolist() == [0, 0, 1, X]
    assert found.settled_TH[:, 0].tolist() == [False, True, True, False]
    assert found.ended_TH[:, 0].tolist() == [False, False, False, True]
    assert found.used_minutes == 6
    # From its very last trade on, the price does not move any more.
    assert column([4, 8, 1, 2], 3, "down", collected=7) == [0, 0, 1, 0]


def test_a_minute_that_nothing_was_traded_in_is_not_called_ended() -> None:
    found = made([1, 1, 2], 2, observed=[1, 0, 1])
    assert found.unobserved_TH[:, 0].tolist() == [False, True, False]
    assert found.ended_TH[:, 0].tolist() == [False, False, True]


@pytest.mark.parametrize("horizon", [3, 4, 1000])
def test_a_horizon_beyond_the_end_is_masked(horizon: int) -> None:
    assert column([1, 2, 3], horizon) == [X, X, X]
    assert made([1, 2, 3], horizon).used_minutes == 0


def test_each_horizon_has_its_column() -> None:
    found = labels(np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4, dtype=bool), (1, 2, 3), 4)
    assert found.y_TH.tolist() == [[1, 1, 1], [0, 1, X], [1, X, X], [X, X, X]]


def test_the_labels_of_the_first_minutes_alone_look_at_the_others() -> None:
    price, seen = np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4, dtype=bool)
    some, every = (labels(price, seen, (1, 2), 4, minutes=minutes) for minutes in (2, None))
    assert some.y_TH.tolist() == every.y_TH[:2].tolist()
    assert (some.used_minutes, every.used_minutes) == (4, 4)
