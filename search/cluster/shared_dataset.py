"""How the trials of a stage reach the dataset without a copy each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from hybridtune.data.info import DatasetInfo
from hybridtune.data.store import Dataset, DatasetBytes

if TYPE_CHECKING:
    from ray import ObjectRef


@dataclass(frozen=True)
class SharedDataset:
    """A prepared dataset: by its path, memory-mapped, or through Ray's object store, whose one copy on a node all
    trials there share.
    """

    path: Path
    horizons: tuple[int, ...]
    """Those of its horizons that the run is about."""
    info: DatasetInfo | None = None
    files: Mapping[str, "ObjectRef[Any]"] = field(default_factory=dict)

    def open(self) -> Dataset:
        source: Path | DatasetBytes = self.path
        if self.info is not None:
            source = DatasetBytes(self.info, {name: ray.get(ref) for name, ref in self.files.items()})
        return Dataset(source).only(self.horizons)


def share_dataset(dataset: Dataset, *, other_hosts: bool) -> SharedDataset:
    """By its path; put into the object store once where trials may run on other hosts. Needs a running Ray."""
    path = dataset.source
    assert isinstance(path, Path)
    if not other_hosts:
        return SharedDataset(path, dataset.info.horizons)
    mapped = DatasetBytes.map(path)
    return SharedDataset(
        path, dataset.info.horizons, mapped.info, {name: ray.put(values) for name, values in mapped.files.items()}
    )
