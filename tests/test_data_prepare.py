"""A prepared dataset: what it holds, what identifies it, and that it appears whole or not at all."""

import dataclasses
import json
import pickle
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import EXPANDING_MAX, HORIZONS, WriteSeries, read

from hybridtune.data.features import FEATURE_NAMES, features
from hybridtune.data.find import find_series
from hybridtune.data.info import DatasetInfo
from hybridtune.data.labels import labels
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.schema import MASKED, SLICES, InputError, Ties
from hybridtune.data.split import PURGED, Shares
from hybridtune.data.store import Dataset, usable_minutes

QUARTERS = PrepareConfig(
    horizons=(2, 5), shares=Shares(0.25, 0.25, 0.25, 0.25), expanding_min=4, expanding_max=12, anchor_stride=4
)


PARAMS = b"datetime,price,volume\n" + b"".join(b"2025-01-01 00:%02d,1,1\n" % minute for minute in range(20))


@pytest.fixture
def launches(tmp_path: Path, write_series: WriteSeries) -> Path:
    """Eight launches of 20 minutes, a day apart."""
    rng = np.random.default_rng(0)
    for day in range(8):
        path = tmp_path / "raw" / f"token{day}.parquet"
        write_series(path, rng.lognormal(size=20), f"2025-01-{day + 1:02}", volume=rng.lognormal(size=20))
    return tmp_path / "raw"


@pytest.fixture
def opened(launches: Path, tmp_path: Path) -> Dataset:
    prepare(launches, tmp_path / "out", QUARTERS)
    return Dataset(tmp_path / "out")


def assert_same_values(one: Dataset, other: Dataset) -> None:
    assert len(one) == len(other)
    for series in range(len(one)):
        np.testing.assert_array_equal(one.x_TF(series), other.x_TF(series))
        np.testing.assert_array_equal(one.y_TH(series), other.y_TH(series))
    for name in SLICES:
        assert one.members(name).tolist() == other.members(name).tolist()
        assert one.frozen_anchors(name).minute_A.tolist() == other.frozen_anchors(name).minute_A.tolist()


def test_series_hold_the_features_and_labels_of_their_files(raw: Path, dataset: Dataset) -> None:
    assert dataset.info.features == FEATURE_NAMES
    assert len(dataset) == len(find_series(raw).files) == 24
    for index, file in enumerate(find_series(raw).files):
        bars = read(file.path)
        y_TH = labels(bars.price_T, bars.observed_T, HORIZONS, len(bars)).y_TH
        assert dataset.series.name_M[index] == file.name
        assert dataset.series.category_M[index] == file.category
        assert dataset.series.start_M[index] == bars.start
        assert dataset.series.bars_M[index] == EXPANDING_MAX
        np.testing.assert_array_equal(dataset.x_TF(index), features(bars)[:EXPANDING_MAX])
        np.testing.assert_array_equal(dataset.y_TH(index)[59:], y_TH[59:EXPANDING_MAX])
        assert (dataset.y_TH(index)[:59] == MASKED).all()


def test_the_counts_of_each_slice_are_those_of_its_series_and_labels(dataset: Dataset) -> None:
    info = dataset.info
    assert sum(each.series + each.purged for each in info.slices.values()) == 24
    assert sum(each.purged for each in info.slices.values()) == (dataset.series.slice_M == PURGED).sum() == 2
    for name, counted in info.slices.items():
        members = dataset.members(name)
        assert counted.series == len(members)
        if name == "train":
            y_AH = np.concatenate([dataset.y_TH(int(series))[59:] for series in members])
        else:
            anchors = dataset.frozen_anchors(name)
            pairs = zip(anchors.series_A, anchors.minute_A, strict=True)
            y_AH = np.stack([dataset.y_TH(int(series))[minute] for series, minute in pairs])
        y_AH = y_AH[(y_AH >= 0).any(axis=1)]
        assert counted.anchors == len(y_AH)
        assert counted.known_labels == tuple((y_AH >= 0).sum(axis=0))
        assert counted.up_share == pytest.approx([(y[y >= 0]).mean() for y in y_AH.T])
    assert sum(info.categories.values()) == 24
    assert (info.rejected, info.unusable_rows) == ((), 0)


@pytest.mark.parametrize("ties", ["drop", "down"])
def test_ties_are_counted_over_the_anchors_of_their_slice(launches: Path, tmp_path: Path, ties: Ties) -> None:
    for path in launches.iterdir():
        table = pd.read_parquet(path)
        table.assign(price=table["price"].where(table.index % 3 != 0, 1.0)).to_parquet(path)
    config = dataclasses.replace(QUARTERS, ties=ties, horizons=(2, 3))
    info = prepare(launches, tmp_path / "out", config)
    opened = Dataset(tmp_path / "out")
    for name, part in info.slices.items():
        expected = anchors = 0
        frozen = opened.frozen_anchors(name)
        for series in opened.members(name):
            price = pd.read_parquet(launches / f"{opened.series.name_M[series]}.parquet")["price"].to_numpy()
            minutes = np.arange(3, 12, 1 if name == "train" else 4)
            expected += int((price[minutes] == price[minutes + 3]).sum())
            usable = usable_minutes(opened.y_TH(int(series)))
            anchors += len(usable) if name == "train" else int((frozen.series_A == series).sum())
        assert part.tied_labels == (0, expected)
        assert part.tied_labels[1] > 0
        assert part.anchors == anchors
        # Nothing else is masked: every bar is there.
        assert part.minutes - part.known_labels[1] == (expected if ties == "drop" else 0)


def test_members_of_a_slice_come_in_order_of_launch(dataset: Dataset) -> None:
    starts = [dataset.series.start_M[dataset.members(name)] for name in SLICES]
    assert all((np.diff(start_M) >= np.timedelta64(0, "m")).all() for start_M in starts)
    assert all(before[-1] < after[0] for before, after in pairwise(starts))


def test_a_series_is_purged_from_the_last_bar_that_a_label_uses(tmp_path: Path, write_series: WriteSeries) -> None:
    """12 bars for anchors and a horizon of 5 minutes take 17 minutes."""
    for gap, purged in ((17, 0), (16, 1)):
        raw = tmp_path / f"raw{gap}"
        for token, minute in enumerate((0, gap, 100, 200)):
            start = str(np.datetime64("2025-01-01T00:00") + minute)
            write_series(raw / f"{token}.csv", np.arange(1.0, 90.0), start)
        if purged:
            with pytest.raises(InputError, match=r"slice 'train' is empty: .* 1 of them purged"):
                prepare(raw, tmp_path / f"out{gap}", QUARTERS)
        else:
            assert prepare(raw, tmp_path / f"out{gap}", QUARTERS).slices["train"].series == 1


def test_frozen_anchors_are_every_stride_from_the_shortest_history(opened: Dataset) -> None:
    for name in SLICES[1:]:
        anchors = opened.frozen_anchors(name)
        assert anchors.series_A.tolist() == np.repeat(np.sort(opened.members(name)), 3).tolist()
        assert anchors.minute_A.tolist() == [3, 7, 11] * 2


def test_an_unlabelled_minute_is_no_frozen_anchor(tmp_path: Path, write_series: WriteSeries) -> None:
    rng = np.random.default_rng(0)
    for day in range(4):
        times = [f"2025-01-{day + 1:02} 00:{m:02}" for m in range(20) if m != 7]
        write_series(tmp_path / "raw" / f"{day}.csv", rng.lognormal(size=19), datetime=times)
    prepare(tmp_path / "raw", tmp_path / "out", QUARTERS)
    assert Dataset(tmp_path / "out").frozen_anchors("tune").minute_A.tolist() == [3, 11]


def test_reopening_and_unpickling_give_the_same_arrays(dataset: Dataset) -> None:
    assert_same_values(Dataset(dataset.source), dataset)
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 1000
    assert_same_values(pickle.loads(pickled), dataset)


def test_one_bad_file_among_good_ones_is_listed_with_its_reason(launches: Path, tmp_path: Path) -> None:
    (launches / "bad.csv").write_text("datetime,price,volume\n2025-01-01,abc,1\n")
    info = prepare(launches, tmp_path / "out", QUARTERS)
    assert [Path(each.path).name for each in info.rejected] == ["bad.csv"]
    assert "column 'price' must hold numbers, got 'abc' in row 0" in info.rejected[0].reason
    assert len(Dataset(tmp_path / "out")) == 8
    assert DatasetInfo.read(tmp_path / "out" / "dataset.json") == info


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.parquet", b"PAR1 no more", r"a\.parquet cannot be read"),
        ("a.csv", b"datetime,price,volume\n2025-01-01,1,1\n", r"no usable anchor: 1 minutes, 1 .* needs 4 bars"),
        (
            "a.csv",
            b"datetime,price,volume,x\n2025-01-01,1,1,1\n",
            r"has extra columns \['x'\] where most files have \[\]",
        ),
        (
            "a.csv",
            b"datetime,price\n2025-01-01,1\n",
            r"a\.csv: its column for the volume is none, that of most files 'volume': give it the same columns",
        ),
        (
            "a.csv",
            b"datetime,price,volme\n2025-01-01,1,1\n",
            r"a\.csv has column 'volme' and none for the volume: rename it, or say --columns volume=volme",
        ),
        ("a.json", b'{"name": "no candles"}', r"a\.json holds no list of candles: \[\[timestamp, open"),
        ("x/token0.csv", b"datetime,price\n2025-01-01,1\n", r"another series is named token0 too, rename one"),
        ("a.csv", PARAMS, r"no usable anchor"),
        ("x/token1.csv/a.txt", b"", r"token1\.csv is a folder named like a file: rename it"),
        ("a.csv", b"datetime,price,age\n2025-01-01,1,1\n", r"'age' has the name of a computed feature: rename it"),
        ("a\x1b[31m\nb.csv", b"", r"a\\x1b\[31m\\nb\.csv cannot be read"),
        ("a.csv", b"datetime,price\n2025-01-01," + b"x\n\x1b[31m" * 9999, r"a\.csv cannot be read|is not a time"),
    ],
)
def test_a_file_that_cannot_be_used_is_rejected_or_fatal_if_strict(
    launches: Path, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (launches / name).parent.mkdir(exist_ok=True, parents=True)
    (launches / name).write_bytes(content)
    (rejected,) = prepare(launches, tmp_path / "out", QUARTERS).rejected
    with pytest.raises(InputError, match=reason) as error:
        prepare(launches, tmp_path / "strict", dataclasses.replace(QUARTERS, strict=True))
    assert str(error.value) == rejected.reason
    assert rejected.reason.isprintable()
    assert rejected.path.isprintable()
    assert len(rejected.reason) < len(str(tmp_path)) + 300
    assert not (tmp_path / "strict").exists()


def test_a_category_and_a_file_may_have_any_name_and_the_summary_stays_printable(
    launches: Path, tmp_path: Path
) -> None:
    odd = launches / "\x1b[31m dead\n"
    odd.mkdir()
    (launches / "token3.parquet").rename(odd / "token\t3.parquet")
    info = prepare(launches, tmp_path / "out", QUARTERS)
    assert Dataset(tmp_path / "out").series.name_M[0] == "token\t3"
    assert "\\x1b[31m dead\\n 1" in " ".join(info.summary())
    assert all(line.isprintable() for line in info.summary())


def test_a_bad_extra_column_rejects_its_file_alone(launches: Path, tmp_path: Path) -> None:
    for path in launches.iterdir():
        pd.read_parquet(path).assign(holders=3).to_parquet(path)
    bad = launches / "token8.parquet"
    pd.read_parquet(launches / "token0.parquet").assign(holders="many").to_parquet(bad)
    info = prepare(launches, tmp_path / "out", QUARTERS)
    assert (info.extras, info.features[-1]) == (("holders",), "holders")
    assert [each.reason for each in info.rejected] == [
        f"{bad}: column 'holders' must hold numbers, got 'many' in row 0: write a number there or leave it empty"
    ]
    assert (Dataset(tmp_path / "out").x_TF(0)[:, -1] == 3).all()


@pytest.mark.parametrize("failure", [MemoryError(), OverflowError("too\nlarge"), AssertionError(), SystemError("x")])
def test_whatever_pandas_or_pyarrow_raise_rejects_one_file_alone(
    launches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    good = pq.ParquetFile

    def reading(path: Path) -> pq.ParquetFile:
        if path.stem == "token8":
            raise failure
        return good(path)

    shutil.copy(launches / "token0.parquet", launches / "token8.parquet")
    monkeypatch.setattr("pyarrow.parquet.ParquetFile", reading)
    (rejected,) = prepare(launches, tmp_path / "out", QUARTERS).rejected
    assert re.search(r"token8\.parquet cannot be read \(.+\): it may be", rejected.reason)


def test_a_broken_invariant_of_ours_is_not_taken_for_a_bad_file(
    launches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr("hybridtune.data.prepare.features", broken)
    with pytest.raises(AssertionError):
        prepare(launches, tmp_path / "out", QUARTERS)


def test_the_largest_volumes_are_prepared(launches: Path, tmp_path: Path) -> None:
    for path in launches.iterdir():
        pd.read_parquet(path).assign(volume=1.7976931348623157e308, wealth=-1.7976931348623157e308).to_parquet(path)
    assert prepare(launches, tmp_path / "out", QUARTERS).rejected == ()


def no_usable_file(launches: Path) -> None:
    for path in launches.iterdir():
        path.write_bytes(b"broken")


def only_flat_prices(launches: Path) -> None:
    for path in launches.iterdir():
        pd.read_parquet(path).assign(price=1.0).to_parquet(path)


def too_few_series(launches: Path) -> None:
    for day in range(3, 8):
        (launches / f"token{day}.parquet").unlink()


def a_slice_without_labels(launches: Path) -> None:
    for day in (2, 3):
        pd.read_parquet(launches / f"token{day}.parquet").head(8).to_parquet(launches / f"token{day}.parquet")


def an_unlucky_stride(launches: Path) -> None:
    """Anchors at minutes 3 and 7, of which 3 has no label 5 minutes later for want of a bar there."""
    for day in (2, 3):
        table = pd.read_parquet(launches / f"token{day}.parquet").head(10)
        table.drop(index=8).to_parquet(launches / f"token{day}.parquet")


def only_short_series(launches: Path) -> None:
    for path in launches.iterdir():
        pd.read_parquet(path).head(8).to_parquet(path)


def too_short_series(launches: Path) -> None:
    for path in launches.iterdir():
        pd.read_parquet(path).head(5 if path.stem == "token7" else 4).to_parquet(path)


def ties_at_five_minutes(launches: Path) -> None:
    for day in (2, 3):
        table = pd.read_parquet(launches / f"token{day}.parquet")
        table.assign(price=np.resize([1.0, 2.0, 3.0, 4.0, 5.0], 20)).to_parquet(launches / f"token{day}.parquet")


NO_LABEL = (
    r"slice 'tune' has no known label at horizon 5: it has 2 series 8/8/8 minutes long .* with 2 anchors, and a label "
    r"needs 4 \+ 5 = 9 minutes: drop 5 from --horizons, or a smaller --expanding-min than 4, longer series, or "
    "--labels last, or a larger"
)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_usable_file, r"no usable series: .*token0\.parquet cannot be read.* \(and 7 more files\)"),
        (only_flat_prices, r"no usable series: .*has no usable anchor.* \(and 7 more files\)"),
        (too_few_series, r"slice '\w+' is empty: of 3 series"),
        (a_slice_without_labels, NO_LABEL),
        (
            an_unlucky_stride,
            r"slice 'tune' has no known label at horizon 5: it has 2 series .* with 4 anchors, .* = 9 minutes: "
            r"drop 5 from --horizons, or a smaller --anchor-stride than 4, or a larger share .* --slices$",
        ),
        (
            only_short_series,
            r"slice 'train' has no known label at horizon 5: it has 2 series 8/8/8 .* with 6 anchors, .* = 9 minutes: "
            r"drop 5 from --horizons, or a smaller --expanding-min than 4, longer series, or --labels last$",
        ),
        (
            ties_at_five_minutes,
            r"slice 'tune' has no known label at horizon 5: .* a larger --expanding-max than 12, or --ties down, or",
        ),
        (
            too_short_series,
            r"no usable series: .*needs 4 bars and a different price 2 minutes later .* --expanding-min or "
            r"shorter --horizons \(and 7 more files\); 8 of them are 4/4/5 minutes long \(shortest/median/longest",
        ),
    ],
)
def test_a_failed_preparation_leaves_nothing(
    launches: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(launches)
    with pytest.raises(InputError, match=message):
        prepare(launches, tmp_path / "out", dataclasses.replace(QUARTERS, labels="exact"))
    assert list(tmp_path.iterdir()) == [launches]


def test_an_interrupted_preparation_leaves_nothing(launches: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 8
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(launches, tmp_path / "out", QUARTERS, progress=interrupt)
    assert list(tmp_path.iterdir()) == [launches]


def test_an_existing_place_is_refused_and_left_as_it_is(launches: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("data")
    with pytest.raises(InputError, match="out exists already"):
        prepare(launches, tmp_path / "out", QUARTERS)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_a_parallel_map_gives_the_same_dataset(launches: Path, opened: Dataset, tmp_path: Path) -> None:
    def through_pickle(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """What a pool of processes does to functions, arguments and results."""
        for item in items:
            work, argument = pickle.loads(pickle.dumps((function, item)))
            yield pickle.loads(pickle.dumps(work(argument)))

    info = prepare(launches, tmp_path / "parallel", QUARTERS, parallel_map=through_pickle)
    assert info == opened.info
    assert_same_values(Dataset(tmp_path / "parallel"), opened)


def fingerprint(launches: Path, out: Path, config: PrepareConfig = QUARTERS) -> str:
    return prepare(launches, out, config).fingerprint


def test_equal_input_elsewhere_has_the_same_fingerprint(launches: Path, opened: Dataset, tmp_path: Path) -> None:
    shutil.copytree(launches, tmp_path / "copy")
    assert fingerprint(tmp_path / "copy", tmp_path / "out2") == opened.info.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.assign(price=table["price"].where(table.index != 16, table["price"] * 1.5)),
        lambda table: table.assign(volume=table["volume"].where(table.index != 3, table["volume"] * 1.01)),
        lambda table: table.assign(datetime=table["datetime"] + pd.Timedelta(minutes=1)),
    ],
    ids=["one price, used by a label only", "one volume", "launch"],
)
def test_one_changed_value_changes_the_fingerprint(
    launches: Path, opened: Dataset, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    table = pd.read_parquet(launches / "token5.parquet")
    # A label sees the sign of a change only, so make sure that it turns.
    table.loc[table.index == 11, "price"] = table["price"][16] * 1.2
    table.to_parquet(launches / "token5.parquet")
    before = fingerprint(launches, tmp_path / "before")
    change(table).to_parquet(launches / "token5.parquet")
    assert fingerprint(launches, tmp_path / "after") != before


def test_another_order_of_launch_changes_the_fingerprint(launches: Path, opened: Dataset, tmp_path: Path) -> None:
    """Training walks a slice in order of launch, and no feature knows the day."""
    for day, shift in ((0, 1), (1, -1)):
        table = pd.read_parquet(launches / f"token{day}.parquet")
        moved = table.assign(datetime=table["datetime"] + pd.Timedelta(days=shift))
        moved.to_parquet(launches / f"token{day}.parquet")
    assert fingerprint(launches, tmp_path / "out2") != opened.info.fingerprint


@pytest.mark.parametrize(
    "setting",
    [
        {"horizons": (2, 4)},
        {"ties": "down"},
        {"shares": Shares(0.5, 0.125, 0.125, 0.25)},
        {"expanding_min": 5},
        {"expanding_max": 11},
        {"anchor_stride": 2},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_another_setting_changes_the_fingerprint(
    launches: Path, opened: Dataset, tmp_path: Path, setting: dict[str, Any]
) -> None:
    config = dataclasses.replace(QUARTERS, **setting)
    assert fingerprint(launches, tmp_path / "out2", config) != opened.info.fingerprint


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"horizons": ()}, r"horizons must be ascending minutes above 0, got \(\)"),
        ({"horizons": (30, 15)}, r"horizons must be ascending .* got \(30, 15\)"),
        ({"horizons": (0, 15)}, r"horizons must be ascending .* got \(0, 15\)"),
        ({"expanding_min": 0}, r"got \(expanding-min=0, expanding-max=720\)"),
        ({"expanding_min": 90, "expanding_max": 80}, r"got \(expanding-min=90, expanding-max=80\)"),
        ({"anchor_stride": 0}, r"anchor-stride must be at least 1 minute, got 0"),
        ({"ties": "up"}, r"ties must be one of drop, down, got 'up'"),
        ({"horizons": 15}, r"horizons must be a tuple of whole minutes, got 15"),
        ({"collected_until": "2026-03-01"}, r"collected_until must be a datetime, got '2026-03-01'"),
        ({"columns": {"id": "token"}}, r"columns must be text like id=token,time=ts, got \{'id': 'token'\}"),
        ({"shares": (0.6, 0.15, 0.1, 0.15)}, r"shares must be hybridtune\.data\.split\.Shares, got \(0\.6"),
    ],
)
def test_bad_settings_are_refused_with_the_value(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PrepareConfig(**setting)


def test_a_place_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a dataset folder: `hybridtune prepare` makes one"):
        Dataset(tmp_path / "missing")
    with pytest.raises(InputError, match=r"dataset\.json does not exist"):
        Dataset(tmp_path)


def edit_info(path: Path, **values: object) -> None:
    info = path / "dataset.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | values))


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rebuild(path: Path, **columns: object) -> None:
    """A table of the dataset with other columns, in a file that Arrow finds nothing wrong with."""
    table = pa.ipc.open_file(path).read_all()
    for name, change in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(change(table.column(name).to_numpy().copy())))  # type: ignore[operator]
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def swap_launches(path: Path) -> None:
    batches = pa.ipc.open_file(path).read_all().to_batches()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches[::-1]:
            writer.write_batch(batch)


def edit_nested(path: Path) -> None:
    slices = json.loads((path / "dataset.json").read_text())["slices"]
    slices["test"]["purged"] += 1
    edit_info(path, slices=slices)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: halve(path / "dataset.json"), r"dataset\.json is not a valid DatasetInfo"),
        (lambda path: edit_info(path, version=1), r"has format version 1, this program reads 2"),
        (lambda path: edit_info(path, more=1), r"more: Extra inputs are not permitted"),
        (lambda path: edit_info(path, horizons="15"), r"horizons: .*got '15'"),
        *[
            (
                lambda path, name=name, damage=damage: damage(path / name),
                r"is damaged \(.*\): prepare it anew",
            )
            for name in ("bars.arrow", "series.arrow", "anchors.arrow")
            for damage in (Path.unlink, halve)
        ],
        (lambda path: (path / "dataset.json").write_text("[" * 100_000), r"dataset\.json is not a valid DatasetInfo"),
        (lambda path: edit_info(path, fingerprint="abc"), r"is damaged \(dataset\.json was changed\)"),
        (lambda path: edit_info(path, features=["a"]), r"is damaged \(dataset\.json was changed\)"),
        (lambda path: edit_info(path, horizons=[2]), r"is damaged \(dataset\.json was changed\)"),
        (lambda path: edit_info(path, expanding_min=-5), r"is damaged \(dataset\.json was changed\)"),
        (lambda path: edit_info(path, slices={}), r"is damaged \(dataset\.json was changed\)"),
        (edit_nested, r"is damaged \(dataset\.json was changed\)"),
        (lambda path: rebuild(path / "series.arrow", bars=lambda b: b + 1), r"damaged \(series\.arrow was changed\)"),
        (lambda path: rebuild(path / "series.arrow", slice=lambda s: s + 9), r"damaged \(series\.arrow was changed\)"),
        (lambda path: rebuild(path / "anchors.arrow", minute=lambda m: m - 1), r"\(anchors\.arrow was changed\)"),
        (lambda path: rebuild(path / "anchors.arrow", series=lambda s: s + 99), r"\(anchors\.arrow was changed\)"),
    ],
)
def test_a_damaged_dataset_is_refused(opened: Dataset, damage: Callable[[Path], None], message: str) -> None:
    damage(opened.source)
    with pytest.raises(InputError, match=message):
        Dataset(opened.source)


ALTERED = r"is damaged \(bars\.arrow holds other values than were written\): prepare it anew"


def altered(path: Path, place: int, values: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[place : place + len(values)] = values
    path.write_bytes(content)


def test_an_altered_value_is_found_by_verifying(opened: Dataset) -> None:
    opened.verify()
    bars = opened.source / "bars.arrow"
    good = bars.read_bytes()
    for series in (0, 3, 7):
        for values in (opened.x_TF(series).tobytes(), np.ascontiguousarray(opened.y_TH(series)).tobytes()):
            place = good.index(values) + len(values) // 2
            for damage in (bytes([good[place] ^ 1]), bytes(8)):
                altered(bars, place, damage)
                if bars.read_bytes() != good:
                    with pytest.raises(InputError, match=ALTERED):
                        Dataset(opened.source).verify()
                bars.write_bytes(good)
    swap_launches(bars)
    with pytest.raises(InputError, match=ALTERED):
        Dataset(opened.source).verify()


@pytest.mark.parametrize("name", ["dataset.json", "series.arrow", "anchors.arrow", "bars.arrow"])
def test_damage_anywhere_is_refused_in_one_line_or_touches_no_value(opened: Dataset, name: str) -> None:
    path = opened.source / name
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(len(good), size=150).tolist():
        altered(path, place, rng.choice([bytes(8), b"\xff" * 8, bytes([good[place] ^ 8])]))
        try:
            damaged = Dataset(opened.source)
            damaged.verify()
        except InputError as error:
            assert str(error).isprintable()
        else:
            assert_same_values(damaged, opened)
        path.write_bytes(good)


def test_a_dataset_whose_bars_are_of_another_is_refused_on_opening(opened: Dataset, tmp_path: Path) -> None:
    other = dataclasses.replace(QUARTERS, horizons=(2,))
    prepare(Path(opened.info.sources[0]), tmp_path / "other", other)
    shutil.copy(tmp_path / "other" / "bars.arrow", opened.source / "bars.arrow")
    with pytest.raises(InputError, match=r"damaged \(bars\.arrow holds 1 horizons instead of 2\): prepare"):
        Dataset(opened.source)


def test_a_dataset_with_some_of_its_horizons_keeps_series_slices_and_anchors(dataset: Dataset) -> None:
    later = dataset.only((60,))
    assert later.info.horizons == (60,)
    for name in SLICES:
        assert later.info.slices[name].up_share == dataset.info.slices[name].up_share[1:]
        np.testing.assert_array_equal(later.frozen_anchors(name).minute_A, dataset.frozen_anchors(name).minute_A)
    for series in range(len(dataset)):
        np.testing.assert_array_equal(later.y_TH(series), dataset.y_TH(series)[:, 1:])
    assert later.only((60,)).info == later.info
    with pytest.raises(InputError, match="no horizon 15: it has 60"):
        later.only((15,))


@pytest.mark.parametrize(
    ("horizons", "message"),
    [((7,), "the dataset has no horizon 7: it has 15, 60; choose"), ((60, 15), "ascending"), ((), "ascending")],
)
def test_a_horizon_that_the_dataset_lacks_is_refused(dataset: Dataset, horizons: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataset.only(horizons)
