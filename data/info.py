"""dataset.json: what a prepared dataset holds and where it came from."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict

from hybridtune.data.columns import Columns
from hybridtune.data.document import Document
from hybridtune.data.schema import LabelRule, SliceName, Ties
from hybridtune.data.text import printable

REMARKABLE = 0.05
"""Share of the labels at the longest horizon."""


class SliceInfo(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    series: int
    purged: int
    """Series cut into this slice but left out, because they reach into the next."""
    minutes: int
    """At which an anchor could stand, as enough bars come before them: every one in train, one a stride elsewhere."""
    anchors: int
    """Those of them with at least one known label: all of them in train, the frozen ones elsewhere."""
    up_share: tuple[float, ...]
    """Share of label 1 among the known labels, for each horizon."""
    known_labels: tuple[int, ...]
    """At those minutes, for each horizon; the others are masked, for one of the causes below."""
    settled_labels: tuple[int, ...]
    """Known ones that rest on the very last price of a series which trades no more by then."""
    tied_labels: tuple[int, ...]
    """Where both prices are equal: masked or 0, as `ties` says."""
    ended_labels: tuple[int, ...]
    """Where the horizon reaches beyond the end of the collection; by the rule `exact`, of the series."""
    unobserved_labels: tuple[int, ...]
    """Where nothing was traded in the minute itself; by the rule `exact`, or a horizon later."""

    def only(self, indices: Sequence[int]) -> Self:
        names = [name for name in type(self).model_fields if name == "up_share" or name.endswith("_labels")]
        return self.model_copy(update={name: tuple(getattr(self, name)[i] for i in indices) for name in names})


class Rejected(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    reason: str


class DatasetInfo(Document):
    """dataset.json"""

    current_version: ClassVar[int] = 2

    version: int = 2
    features: tuple[str, ...]
    """The computed features, then the extras."""
    extras: tuple[str, ...]
    """Ratios of the columns to the price, then further columns as they are."""
    formulas: str
    """Digest of what the features of a fixed series are."""
    columns: Columns
    """What was taken for what in the raw files."""
    horizons: tuple[int, ...]
    expanding_min: int
    expanding_max: int
    ties: Ties
    labels: LabelRule
    collected_until: datetime
    """The last minute of which trades were collected, in UTC."""
    collected_last: str
    """The series whose latest bar says so; empty where the user did."""
    anchor_stride: int
    """Minutes between two frozen anchors of a series."""
    slices: dict[SliceName, SliceInfo]
    folds: tuple[dict[SliceName, SliceInfo], ...]
    """Train and tune of the walk-forward folds before the last; the last is that of `slices`."""
    categories: dict[str, int]
    sources: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    unusable_rows: int
    suspects: tuple[str, ...]
    """What looks wrong with the extra columns, a line each."""
    late_series: int
    """Whose first bar is followed by hours without any."""
    anchors_hash: str
    bars_hash: str
    """Of the values of the bars."""
    table_hashes: dict[str, str]
    """Of the files."""
    fingerprint: str
    """Identifies values, slices and anchors: equal fingerprints, equal results."""

    def only(self, indices: Sequence[int]) -> "DatasetInfo":
        """The same with some of its horizons, given by their indices."""

        def chosen(slices: dict[SliceName, SliceInfo]) -> dict[SliceName, SliceInfo]:
            return {name: part.only(indices) for name, part in slices.items()}

        horizons = tuple(self.horizons[i] for i in indices)
        folds = tuple(chosen(fold) for fold in self.folds)
        return self.model_copy(update={"horizons": horizons, "slices": chosen(self.slices), "folds": folds})

    def summary(self) -> list[str]:
        """What a person wants to know of the dataset, a line each."""
        lines = []
        for name, part in self.slices.items():
            shares = self._by_horizon(f"{share:.2f}" for share in part.up_share)
            lines.append(
                f"{name}: {part.series} series ({part.purged} purged: they reach into the next slice), {part.anchors} "
                f"anchors, share of up {shares}"
            )
            treated = "masked" if self.ties == "drop" else "called down"
            causes = (
                ("beyond the end of the collection", part.ended_labels),
                (f"equal prices ({treated})", part.tied_labels),
                ("unobserved", part.unobserved_labels),
            )
            lost = (f"{cause} {self._by_horizon(counts)}" for cause, counts in causes if any(counts))
            lines.append(f"  of {part.minutes} minutes that could be anchors: {'; '.join(lost) or 'no label is lost'}")
        for number, fold in enumerate(self.folds, start=1):
            parts = ", ".join(f"{name} {part.series} ({part.purged} purged)" for name, part in fold.items())
            lines.append(f"fold {number} of {len(self.folds) + 1}: {parts}")
        categories = (f"{printable(name) or '-'} {count}" for name, count in self.categories.items())
        lines += self._remarks()
        lines.append(self.columns.text())
        if further := [name for name in self.extras if name not in self.columns.ratios]:
            lines.append(f"extra columns, taken as features: {', '.join(map(printable, further))}")
        lines += self.suspects
        lines.append("categories: " + ", ".join(categories))
        lines.append(f"{self.unusable_rows} rows without a usable time or price, {len(self.rejected)} files rejected")
        lines += [f"rejected: {rejected.reason}" for rejected in self.rejected]
        return lines

    def _remarks(self) -> list[str]:
        """What may be wrong with the labels or the launches."""
        last = f"the latest bar, of {self.collected_last}" if self.collected_last else "as said"
        lines = [f"collected until {self.collected_until:%Y-%m-%d %H:%M} ({last})"]
        longest = self.horizons[-1]

        def share(name: str) -> float:
            return float(sum(getattr(part, name)[-1] for part in self.slices.values()) / minutes)

        minutes = sum(part.minutes for part in self.slices.values())
        if (lost := 1 - share("known_labels")) > REMARKABLE:
            parts = [("ended_labels", "the collection ends before"), ("unobserved_labels", "unobserved")]
            if self.ties == "drop":
                parts.append(("tied_labels", "equal prices"))
            causes = ", ".join(f"{share(name):.0%} {cause}" for name, cause in parts if share(name) > 0)
            lines.append(f"{lost:.0%} of the labels {longest} minutes ahead are lost: {causes}")
        if (settled := share("settled_labels")) > REMARKABLE:
            lines.append(
                f"{settled:.0%} of the labels {longest} minutes ahead rest on the last price of a series that trades "
                "no more by then: if these series were cut short, prepare them with --labels exact"
            )
        if self.late_series:
            lines.append(
                f"{self.late_series} series begin with a bar that stands alone for hours: their launch may be later"
            )
        return lines

    def _by_horizon(self, values: Iterable[object]) -> str:
        return ", ".join(f"{horizon}: {value}" for horizon, value in zip(self.horizons, values, strict=True))
