"""Which column of a raw file is what: recognised by the names that other programs give, or as the user says."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from pydantic import BaseModel, ConfigDict

from hybridtune.data.schema import PRICE_COLUMN, TIME_COLUMN, VOLUME_COLUMN, InputError
from hybridtune.data.text import shown

KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "time": (TIME_COLUMN, "date", "timestamp", "time", "open_time", "ts"),
    "price": (PRICE_COLUMN, "close"),
    "volume": (VOLUME_COLUMN,),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "id": ("token", "symbol", "pair", "id", "mint", "address"),
}
"""The names by which each role is recognised, in any case, the first of them first."""

CANDLE: Final = ("timestamp", "open", "high", "low", "close", "volume")
"""What the numbers of a list of candles are, as CCXT, freqtrade and GeckoTerminal write them."""

RATIOS: Final = {"open": "open_ratio", "high": "high_ratio", "low": "low_ratio"}
"""Roles that become features: the log of their ratio to the price."""


class Columns(BaseModel):
    """The columns of every file of a dataset, by their role; None where there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: str = TIME_COLUMN
    price: str = PRICE_COLUMN
    volume: str | None = VOLUME_COLUMN
    open: str | None = None
    high: str | None = None
    low: str | None = None
    id: str | None = None
    """Of a table of many series, or of their folders, as in token=A/part-0.parquet."""

    @property
    def ratios(self) -> tuple[str, ...]:
        return tuple(feature for role, feature in RATIOS.items() if getattr(self, role) is not None)

    def of(self, ratio: str) -> str:
        """The column of which a feature is the ratio."""
        role = next(role for role, feature in RATIOS.items() if feature == ratio)
        return str(getattr(self, role))

    @property
    def used(self) -> frozenset[str]:
        return frozenset(name for name in self.model_dump().values() if name is not None)

    def text(self) -> str:
        """What was taken for what, for people."""
        taken = [f"{role} from {shown(name)}" for role, name in self.model_dump().items() if name is not None]
        ratios = f"; {', '.join(self.ratios)} are logs of ratios to the price" if self.ratios else ""
        missing = "; no volume: its features are constant" if self.volume is None else ""
        return f"columns: {', '.join(taken)}{ratios}{missing}"


def parse_columns(text: str) -> dict[str, str]:
    """Role -> name, from `id=token,time=ts,price=close`. Raises InputError for another form or an unknown role."""
    found: dict[str, str] = {}
    for part in text.split(","):
        role, equals, name = (each.strip() for each in part.partition("="))
        if role not in KNOWN or not equals or not name or role in found:
            roles = ", ".join(KNOWN)
            raise InputError(f"columns must be like id=token,time=ts,price=close (of {roles}), got {text!r}")
        found[role] = name
    return found


def recognise(names: Sequence[str], given: Mapping[str, str], source: object) -> Columns:
    """The columns of a file with these names; `id` only where it is given, as other files of one series may have one.

    Raises InputError if the time or the price is not among them, or a column that was given.
    """
    by_case = {name.lower(): name for name in reversed(names)}
    found: dict[str, str | None] = dict.fromkeys(KNOWN)
    for role, known in KNOWN.items():
        if role in given:
            # The id may be the name of a folder.
            if given[role] not in names and role != "id":
                raise InputError(f"{source} has no column {shown(given[role])}, which was named for the {role}")
            found[role] = given[role]
        elif role != "id":
            found[role] = next((by_case[name] for name in known if name in by_case), None)
    for role in ("time", "price"):
        if found[role] is None:
            raise InputError(
                f"{source} has no column for the {role}: one of {', '.join(KNOWN[role])} is required, or --columns "
                f"{role}=NAME; it has {shown(list(names))}"
            )
    return Columns.model_validate(found)


def extras_of(names: Sequence[str], columns: Columns) -> tuple[str, ...]:
    """What is left for features, in order of name. Further times and names of a series are none."""
    none = {*KNOWN["time"], *KNOWN["id"]}
    return tuple(sorted({name for name in names if name not in columns.used and name.lower() not in none}))


def misspelt(name: str, columns: Columns) -> str | None:
    """The role that nobody has and that a further column seems to be meant for."""
    roles = [role for role in ("volume", *RATIOS) if getattr(columns, role) is None]
    return next(iter(get_close_matches(name.lower(), roles, n=1, cutoff=0.8)), None)
