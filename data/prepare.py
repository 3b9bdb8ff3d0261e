"""Raw folder -> prepared dataset, one series at a time; memory does not grow with their number."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from hybridtune.data.document import new_folder, refuse_existing
from hybridtune.data.features import FEATURE_NAMES, features, formulas_digest
from hybridtune.data.find import Problem, SeriesFile, find_series
from hybridtune.data.index import Counts, KeptSeries, build_index
from hybridtune.data.info import DatasetInfo, Rejected
from hybridtune.data.labels import Labels, labels
from hybridtune.data.long_tables import refuse_unknown_id, sorted_copy
from hybridtune.data.parallel import ParallelMap
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.read import read_series
from hybridtune.data.schema import MASKED, SLICES, InputError
from hybridtune.data.shortage import LATE_MINUTES, lengths, no_anchor
from hybridtune.data.store import (
    INFO,
    BarsWriter,
    dataset_fingerprint,
    table_hashes,
    usable_minutes,
    write_anchors,
    write_series_table,
)
from hybridtune.data.survey import (
    Collection,
    Layout,
    LongTable,
    Surveyed,
    collection,
    is_laid_out,
    survey,
    usual_layout,
)
from hybridtune.data.suspects import ExtraSample, suspects
from hybridtune.data.text import printable


@dataclass(frozen=True)
class PreparedSeries:
    file: SeriesFile
    start: np.datetime64
    used_minutes: int
    """From launch on, as far as a feature or a label looks."""
    first: int
    """The minute of the first bar with enough others before it."""
    second_bar: int
    """The minute of the second bar."""
    x_TF: NDArray[np.float32]
    labels: Labels
    goes_on: bool
    """Whether the series has bars after the last that a label could use."""
    unusable_rows: int


@dataclass(frozen=True)
class TooShort(Problem):
    minutes: int
    """Length of the series, as far as it is used."""


def prepare(
    raw: Path,
    out: Path,
    config: PrepareConfig | None = None,
    parallel_map: ParallelMap = map,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    sees_out: bool = True,
) -> DatasetInfo:
    """Writes the dataset `out` from the series below `raw`; `progress` gets (series done, series found). sees_out:
    whether all processes of `parallel_map` see what is written below `out`.

    Raises InputError if nothing below `raw` is usable, if a slice would be empty, if `out` exists, or if there are long
    tables, whose copy lies within `out`, and not all see it; then `out` is not written.
    """
    config = config or PrepareConfig()
    refuse_existing(out)
    found = find_series(raw, config.given_columns.get("id"))
    refuse_unknown_id(found.files, config.given_columns.get("id"))
    # Within, as the hosts of a cluster may see that folder too.
    with new_folder(out) as folder, TemporaryDirectory(dir=folder.resolve(), prefix=".copies-") as copies:
        rejections = Rejections(config.strict)
        for problem in found.problems:
            rejections.add(problem)
        seen = Path(copies) if sees_out else None
        surveyed = _survey(found.files, config.given_columns, seen, rejections, parallel_map)
        collected = collection(surveyed, config.last_collected)
        layout, others = usual_layout(surveyed)
        for problem in others:
            rejections.add(problem)
        files = [one.file for one in surveyed if is_laid_out(one, layout)]
        writer = BarsWriter(folder, len(FEATURE_NAMES) + len(layout.extras), len(config.horizons))
        kept: list[KeptSeries] = []
        results = parallel_map(partial(prepare_series, config=config, layout=layout, collected=collected), files)
        for done, result in enumerate(results, start=1):
            if isinstance(result, Problem):
                rejections.add(result)
            else:
                writer.append(result.x_TF, result.labels.y_TH)
                kept.append(keep(result, config))
            progress(done, len(files))
        if not kept:
            raise rejections.nothing_usable()
        info = _write_index(folder, kept, config, writer.close(), raw, layout, collected, rejections)
        info.write(folder / INFO)
    return info


def prepare_series(
    file: SeriesFile, config: PrepareConfig, layout: Layout, collected: Collection
) -> PreparedSeries | Problem:
    """Features and labels of one file, or why it is not usable."""
    try:
        bars = read_series(file, layout.columns, layout.extras, limit_minutes=config.used_minutes)
    except InputError as error:
        return Problem(file.path, str(error))
    found = labels(
        bars.price_T,
        bars.observed_T,
        config.horizons,
        collected.minutes(bars.start),
        config.ties,
        config.labels,
        config.expanding_max,
    )
    first = bars.minute_of_bar(config.expanding_min)
    # No anchor stands where too few bars were seen, so that is no label that is lost.
    found.y_TH[:first] = MASKED
    if not len(usable_minutes(found.y_TH)):
        tied = config.ties == "drop" and bool(found.tied_TH[first:].any())
        observed = int(bars.observed_T.sum())
        reason = no_anchor(len(bars), observed, config.expanding_min, config.horizons[0], tied, bars.minute_of_bar(2))
        return TooShort(file.path, f"{file.path} {reason}", len(bars))
    x_TF = features(bars, layout.extras)[: config.expanding_max]
    return PreparedSeries(
        file=file,
        start=bars.start,
        used_minutes=max(len(x_TF), found.used_minutes),
        first=first,
        second_bar=bars.minute_of_bar(2),
        x_TF=x_TF,
        labels=found,
        goes_on=bars.goes_on,
        unusable_rows=bars.unusable_rows,
    )


def keep(series: PreparedSeries, config: PrepareConfig) -> KeptSeries:
    """What is remembered of a series. Its frozen anchors lie a stride apart, counted from the first minute with enough
    history where no minute is missing.
    """
    candidates = np.arange(series.first, len(series.x_TF))
    frozen = candidates[(candidates - (config.expanding_min - 1)) % config.anchor_stride == 0]
    usable = usable_minutes(series.labels.y_TH)
    return KeptSeries(
        file=series.file,
        start=series.start,
        last=series.start + series.used_minutes - 1,
        bars=len(series.x_TF),
        second_bar=series.second_bar,
        unusable_rows=series.unusable_rows,
        frozen_minutes=frozen[np.isin(frozen, usable)],
        extras=ExtraSample.of(series.x_TF[:, len(FEATURE_NAMES) :], series.labels.y_TH, usable),
        usable=Counts.of(series.labels, candidates, goes_on=series.goes_on),
        frozen=Counts.of(series.labels, frozen, goes_on=series.goes_on),
    )


class Rejections:
    """The files that cannot be used, and why. Strict: the first of them ends everything."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._problems: list[Problem] = []

    def add(self, problem: Problem) -> None:
        """Raises InputError where strict."""
        if self._strict:
            raise InputError(problem.reason)
        self._problems.append(problem)

    def listed(self) -> tuple[Rejected, ...]:
        return tuple(Rejected(path=printable(p.path), reason=printable(p.reason)) for p in self._problems)

    def nothing_usable(self) -> InputError:
        first = printable(self._problems[0].reason)
        more = f" (and {len(self._problems) - 1} more files)" if len(self._problems) > 1 else ""
        minutes = [problem.minutes for problem in self._problems if isinstance(problem, TooShort)]
        short = f"; {len(minutes)} of them are {lengths(minutes)}" if len(minutes) > 1 else ""
        return InputError(f"no usable series: {first}{more}{short}")


def _survey(
    files: Sequence[SeriesFile],
    given: Mapping[str, str],
    copies: Path | None,
    rejections: Rejections,
    parallel_map: ParallelMap,
) -> list[Surveyed]:
    """Of the series that can be read, those of long tables among them, which are copied to a folder that all
    processes see. Raises InputError if there is none, or no such folder for a long table.
    """
    found, tables = _told_apart(parallel_map(partial(survey, given=given), files), rejections)
    for key, paths in tables.items():
        if copies is None:
            raise InputError(
                f"{paths[0]} holds many series, which are copied beside the dataset in their order, where not all "
                "hosts would see them: prepare into a folder that they all see, or leave --address away"
            )
        folder = copies / key.encode().hex()
        folder.mkdir()
        series = sorted_copy(sorted(paths), key, folder)
        for problem in series.problems:
            rejections.add(problem)
        of_tables = parallel_map(partial(survey, given={**given, "id": key}), series.files)
        found += _told_apart(of_tables, rejections)[0]
    if not found:
        raise rejections.nothing_usable()
    return found


def _told_apart(
    surveyed: Iterable[Surveyed | LongTable | Problem], rejections: Rejections
) -> tuple[list[Surveyed], dict[str, list[Path]]]:
    """The series, and by the column that names their series the long tables."""
    found: list[Surveyed] = []
    tables: dict[str, list[Path]] = {}
    for one in surveyed:
        if isinstance(one, Problem):
            rejections.add(one)
        elif isinstance(one, LongTable):
            tables.setdefault(one.id, []).append(one.file.path)
        else:
            found.append(one)
    series = []
    for one in found:
        # The table of a day on which one token alone was traded.
        key = next((key for key in tables if key in one.names and one.file.copy is None), None)
        if key is None:
            series.append(one)
        else:
            tables[key].append(one.file.path)
    return series, tables


def _write_index(
    folder: Path,
    kept: Sequence[KeptSeries],
    config: PrepareConfig,
    bars_hash: str,
    raw: Path,
    layout: Layout,
    collected: Collection,
    rejections: Rejections,
) -> DatasetInfo:
    index = build_index(kept, config)
    in_train_M = index.table.slice_M == SLICES.index("train")
    trained_on = [series.extras for series, inside in zip(kept, in_train_M, strict=True) if inside]
    write_series_table(folder, index.table)
    anchors_hash = write_anchors(folder, index.anchors)
    info = DatasetInfo(
        features=FEATURE_NAMES + layout.extras,
        extras=layout.extras,
        formulas=formulas_digest(),
        columns=layout.columns,
        horizons=config.horizons,
        expanding_min=config.expanding_min,
        expanding_max=config.expanding_max,
        ties=config.ties,
        labels=config.labels,
        collected_until=collected.until.astype(datetime),
        collected_last=printable(collected.latest),
        anchor_stride=config.anchor_stride,
        slices=index.slices,
        folds=index.folds,
        categories=dict(sorted(Counter(index.table.category_M).items())),
        sources=(printable(raw.resolve()),),
        rejected=rejections.listed(),
        unusable_rows=sum(series.unusable_rows for series in kept),
        suspects=tuple(suspects(layout.extras, config.horizons, ExtraSample.joined(trained_on))),
        late_series=sum(series.second_bar >= LATE_MINUTES for series in kept),
        anchors_hash=anchors_hash,
        bars_hash=bars_hash,
        table_hashes=table_hashes(folder),
        fingerprint="",
    )
    return info.model_copy(update={"fingerprint": dataset_fingerprint(info, index.table)})
