"""dataset.json: what a prepared dataset holds and where it came from."""

from collections.abc import Iterable, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict

from hybridtune.data.document import Document
from hybridtune.data.schema import SliceName, Ties
from hybridtune.data.text import printable


class SliceInfo(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    series: int
    purged: int
    """Series cut into this slice but left out, because they reach into the next."""
    anchors: int
    """Anchors with at least one known label: all of them in train, the frozen ones elsewhere."""
    up_share: tuple[float, ...]
    """Share of label 1 among the known labels of those anchors, for each horizon."""
    known_labels: tuple[int, ...]
    """Of those anchors, for each horizon; the others are masked."""
    tied_labels: tuple[int, ...]
    """Of those anchors, for each horizon, where both prices are equal: masked or 0, as `ties` says."""

    def only(self, indices: Sequence[int]) -> Self:
        per_horizon = ("up_share", "known_labels", "tied_labels")
        return self.model_copy(update={n: tuple(getattr(self, n)[i] for i in indices) for n in per_horizon})


class Rejected(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    reason: str


class DatasetInfo(Document):
    """dataset.json"""

    features: tuple[str, ...]
    """The computed features, then the extra columns."""
    extras: tuple[str, ...]
    horizons: tuple[int, ...]
    expanding_min: int
    expanding_max: int
    ties: Ties
    anchor_stride: int
    """Minutes between two frozen anchors of a series."""
    slices: dict[SliceName, SliceInfo]
    folds: tuple[dict[SliceName, SliceInfo], ...]
    """Train and tune of the walk-forward folds before the last; the last is that of `slices`."""
    categories: dict[str, int]
    sources: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    unusable_rows: int
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
            masked = self._by_horizon(part.anchors - known for known in part.known_labels)
            treated = "masked" if self.ties == "drop" else "called down"
            ties = self._by_horizon(part.tied_labels)
            lines.append(f"  of the labels of these anchors: masked {masked}; equal prices ({treated}) {ties}")
        for number, fold in enumerate(self.folds, start=1):
            parts = ", ".join(f"{name} {part.series} ({part.purged} purged)" for name, part in fold.items())
            lines.append(f"fold {number} of {len(self.folds) + 1}: {parts}")
        categories = (f"{printable(name) or '-'} {count}" for name, count in self.categories.items())
        lines.append("categories: " + ", ".join(categories))
        lines.append(f"{self.unusable_rows} rows without a usable time or price, {len(self.rejected)} files rejected")
        lines += [f"rejected: {rejected.reason}" for rejected in self.rejected]
        return lines

    def _by_horizon(self, values: Iterable[object]) -> str:
        return ", ".join(f"{horizon}: {value}" for horizon, value in zip(self.horizons, values, strict=True))
