"""The settings of a prepared dataset, checked where they are declared."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import get_args

import numpy as np

from hybridtune.data.columns import parse_columns
from hybridtune.data.schema import (
    DEFAULT_EXPANDING_MAX,
    DEFAULT_EXPANDING_MIN,
    DEFAULT_HORIZONS,
    InputError,
    LabelRule,
    Ties,
    check_choice,
)
from hybridtune.data.split import Shares

LONGEST_MINUTES = 10_000_000
"""Nineteen years: longer than any series, and no sum of such minutes overflows."""


@dataclass(frozen=True)
class PrepareConfig:
    horizons: tuple[int, ...] = DEFAULT_HORIZONS
    """Minutes ahead, ascending."""
    ties: Ties = "drop"
    """Equal prices: masked (drop) or label 0 (down)."""
    labels: LabelRule = "last"
    """A token that stops trading has an outcome by the rule `last`, none by `exact`."""
    collected_until: datetime | None = None
    """End of the collection, in UTC where it has no zone: no label looks beyond it. None for the latest bar of all
    series.
    """
    columns: str = ""
    """Roles and the names of their columns where they are not recognised, like `id=token,time=ts,price=close`."""
    shares: Shares = field(default_factory=Shares)
    expanding_min: int = DEFAULT_EXPANDING_MIN
    expanding_max: int = DEFAULT_EXPANDING_MAX
    """Fewest observed bars, and most minutes from launch, that an anchor sees."""
    anchor_stride: int = 15
    """Minutes between two frozen anchors of a series in tune, blend and test."""
    folds: int = 1
    """Walk-forward folds of train and tune; blend and test are those of the last."""
    strict: bool = False
    """A file that cannot be used ends everything instead of being rejected."""

    def __post_init__(self) -> None:
        self._check_types()
        if not self.horizons or min(self.horizons) < 1 or list(self.horizons) != sorted(set(self.horizons)):
            raise InputError(f"horizons must be ascending minutes above 0, got {self.horizons}")
        if not 1 <= self.expanding_min <= self.expanding_max:
            raise InputError(
                "1 <= expanding-min <= expanding-max must hold, "
                f"got (expanding-min={self.expanding_min}, expanding-max={self.expanding_max})"
            )
        for name, minutes in (
            ("horizons", self.horizons[-1]),
            ("expanding-max", self.expanding_max),
            ("anchor-stride", self.anchor_stride),
        ):
            if minutes > LONGEST_MINUTES:
                raise InputError(f"{name} must be at most {LONGEST_MINUTES} minutes, got {minutes}")
        if self.folds < 1:
            raise InputError(f"folds must be at least 1, got {self.folds}")
        if self.anchor_stride < 1:
            raise InputError(f"anchor-stride must be at least 1 minute, got {self.anchor_stride}")
        check_choice("ties", self.ties, get_args(Ties))
        _ = self.given_columns
        check_choice("labels", self.labels, get_args(LabelRule))

    def _check_types(self) -> None:
        """From Python anything may come."""
        whole = isinstance(self.horizons, tuple | list) and all(isinstance(h, int) for h in self.horizons)
        for name, fits, kind in (
            ("horizons", whole, "a tuple of whole minutes"),
            ("collected_until", isinstance(self.collected_until, datetime | None), "a datetime"),
            ("columns", isinstance(self.columns, str), "text like id=token,time=ts"),
            ("shares", isinstance(self.shares, Shares), "hybridtune.data.split.Shares"),
        ):
            if not fits:
                raise InputError(f"{name} must be {kind}, got {getattr(self, name)!r}")

    @property
    def given_columns(self) -> dict[str, str]:
        """Role -> name."""
        return parse_columns(self.columns) if self.columns else {}

    @property
    def last_collected(self) -> np.datetime64 | None:
        """The minute, in UTC."""
        until = self.collected_until
        if until is not None and until.tzinfo is not None:
            until = until.astimezone(UTC).replace(tzinfo=None)
        return None if until is None else np.datetime64(until, "m")

    @property
    def used_minutes(self) -> int:
        """Bars beyond this minute reach neither a feature nor a label."""
        return self.expanding_max + self.horizons[-1]
