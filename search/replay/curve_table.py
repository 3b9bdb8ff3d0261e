"""A curve table: what many configurations of one space learn, each trained to the full budget, so that a search over
them can be replayed.

Letters of shapes: N configurations, I iterations.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hybridtune.data.document import Document, new_file
from hybridtune.data.schema import InputError
from hybridtune.spaces.parameters import Config, Dimension, Space

METADATA = b"hybridtune"
SCHEMA = pa.schema(
    {
        "configuration": pa.int32(),
        "origin": pa.string(),
        "seed": pa.int32(),
        "params": pa.string(),
        "failed": pa.bool_(),
        **{name: pa.list_(pa.float32()) for name in ("tune_loss", "held_out_loss", "train_loss", "seconds")},
    }
)

Floats = NDArray[np.float64]


class TableInfo(Document):
    """What the file of a curve table says about all of its rows."""

    current_version: ClassVar[int] = 1

    name: str
    market: str
    """What was learnt, for people."""
    dataset: str
    """Its fingerprint."""
    iterations: int
    samples_per_iteration: int
    space_name: str
    dimensions: dict[str, Dimension]
    reference: Config

    @property
    def space(self) -> Space:
        return Space(self.space_name, self.dimensions, self.reference)


@dataclass(frozen=True)
class Recorded:
    """One row: one training of one configuration."""

    configuration: int
    origin: str
    """How the configuration was chosen."""
    seed: int
    params: Config
    failed: bool
    """Whether it ended early, by a loss that was not finite."""
    tune_loss: Sequence[float]
    held_out_loss: Sequence[float]
    """On the blend slice; of the same weights as the tune loss, after each iteration."""
    train_loss: Sequence[float]
    seconds: Sequence[float]
    """That an iteration of a search takes: without the look at the blend slice."""


@dataclass(frozen=True)
class CurveTable:
    """As a replay reads it. Losses are to be small; those of a failed training are infinite from its failure on."""

    name: str
    space: Space
    params: tuple[Config, ...]
    """N of them, the default among them."""
    default: int
    """Its row."""
    tune_NI: Floats
    """Tune loss after each iteration."""
    seconds_NI: Floats
    final_N: Floats
    """What a configuration is worth: the held-out loss of the weights with the best tune loss. Mean over the seeds that
    all configurations have: the best of means over few seeds and over many is one of few, by luck."""
    seed_deviation: float
    """Standard deviation of that loss over the seeds of one configuration; NaN where no configuration has two."""

    @property
    def iterations(self) -> int:
        return int(self.tune_NI.shape[1])

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InputError for a table that is of another version, incomplete, or lacks the space's default."""
        info, rows = read_rows(path)
        return cls.of(info, rows, str(path))

    @classmethod
    def of(cls, info: TableInfo, rows: Sequence[Recorded], source: str = "the table") -> Self:
        """Raises InputError as `read` does; source: what it calls the table."""
        for row in rows:
            if len(row.tune_loss) != info.iterations and not row.failed:
                raise InputError(
                    f"{source} is incomplete: configuration {row.configuration} has {len(row.tune_loss)} of "
                    f"{info.iterations} iterations; record it again"
                )
        first = {row.configuration: row for row in sorted(rows, key=lambda row: row.seed, reverse=True)}
        kept = [first[number] for number in sorted(first)]
        space = info.space
        defaults = [number for number, row in enumerate(kept) if row.params == space.default()]
        if not defaults:
            raise InputError(f"{source} has no row of the default configuration, with which every search begins")
        finals: dict[int, dict[int, float]] = {}
        for row in rows:
            finals.setdefault(row.configuration, {})[row.seed] = held_out_at_best(row)
        losses = [list(of_seeds.values()) for of_seeds in finals.values()]
        spreads = [np.var(each, ddof=1) for each in losses if len(each) > 1 and np.isfinite(each).all()]
        shared = frozenset.intersection(*map(frozenset, finals.values()))
        if not shared:
            raise InputError(f"{source} has no seed with which all configurations were trained; record it again")
        return cls(
            name=info.name,
            space=space,
            params=tuple(row.params for row in kept),
            default=defaults[0],
            tune_NI=np.array([_filled(row.tune_loss, info.iterations, np.inf) for row in kept]),
            seconds_NI=np.array([_filled(row.seconds, info.iterations, 0.0) for row in kept]),
            final_N=np.array([np.mean([finals[row.configuration][seed] for seed in shared]) for row in kept]),
            seed_deviation=float(np.sqrt(np.mean(spreads))) if spreads else float("nan"),
        )


def read_rows(path: Path) -> tuple[TableInfo, list[Recorded]]:
    """Raises InputError for a file that is none of ours or of another version."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read as a curve table: {error}") from None
    text = (table.schema.metadata or {}).get(METADATA)
    if text is None:
        raise InputError(f"{path} is no curve table: it was not written by hybridtune")
    info = TableInfo.decode(text.decode(), path)
    frame = table.to_pandas()
    return info, [_row(values) for values in frame.to_dict("records")]


def write_rows(path: Path, info: TableInfo, rows: Sequence[Recorded]) -> None:
    """The whole file or nothing, also if this process is killed meanwhile."""
    frame = pd.DataFrame([vars(row) | {"params": json.dumps(row.params)} for row in rows], columns=SCHEMA.names)
    schema = SCHEMA.with_metadata({METADATA: info.encode()})
    with new_file(path) as temporary:
        pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False), temporary, compression="zstd")


def _row(values: Mapping[str, object]) -> Recorded:
    known = dict(values)
    known["params"] = json.loads(str(known["params"]))
    return Recorded(**known)  # type: ignore[arg-type]


def _filled(values: Sequence[float], length: int, filler: float) -> Floats:
    return np.concatenate([np.asarray(values, dtype=np.float64), np.full(length - len(values), filler)])


def held_out_at_best(row: Recorded) -> float:
    return np.inf if row.failed else float(row.held_out_loss[int(np.argmin(row.tune_loss))])
