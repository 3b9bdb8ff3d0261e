"""Raw files become bars on a whole minute grid, or an error that says what is wrong."""

import math
import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import WriteSeries, read

from hybridtune.data.bars import Bars
from hybridtune.data.columns import extras_of, recognise
from hybridtune.data.find import SeriesFile
from hybridtune.data.schema import InputError
from hybridtune.data.tables import column_names, refusing


def assert_same(one: Bars, other: Bars) -> None:
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


def further(path: Path) -> tuple[str, ...]:
    """The columns that are left for features."""
    with refusing(path):
        names = column_names(SeriesFile(path, path.stem, ""))
        return extras_of(names, recognise(names, {}, path))


def minutes(*numbers: int) -> list[str]:
    return [f"2025-01-01 {number // 60:02}:{number % 60:02}:00" for number in numbers]


@pytest.mark.parametrize(("limit", "length"), [(None, 4), (4, 4), (3, 2), (1, 1)])
def test_parquet_and_csv_of_the_same_bars_are_equal(
    tmp_path: Path, write_series: WriteSeries, limit: int | None, length: int
) -> None:
    columns = {"datetime": minutes(0, 1, 3), "volume": [5.0, math.nan, 0.25], "holders": [1, 2, 3]}
    both = [write_series(tmp_path / name, [1.0, 1e-9, 3.5], **columns) for name in ("a.parquet", "a.csv")]
    parquet, csv = (read(path, ["holders"], limit) for path in both)
    assert_same(parquet, csv)
    assert len(csv) == length


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize(("zone", "first"), [(None, 0), ("UTC", 0), ("Asia/Tokyo", 540)])
def test_zoned_times_become_utc_and_naive_ones_are_utc(tmp_path: Path, unit: str, zone: str | None, first: int) -> None:
    times = pd.to_datetime(minutes(first, first + 1)).tz_localize(zone).as_unit(unit)
    pd.DataFrame({"datetime": times, "price": [1.0, 2.0]}).to_parquet(tmp_path / "a.parquet")
    bars = read(tmp_path / "a.parquet")
    assert bars.start == np.datetime64("2025-01-01T00:00")
    assert bars.price_T.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "times",
    [
        ["2025-01-01T00:00:00Z", "2025-01-01T01:01:00+01:00"],
        ["2025-01-01", "2025-01-01 00:01"],
        ["2025-01-01T00:00:59", "2025-01-01T00:01:00.250"],
        ["2025-01-01T00:00:00", "2025-01-01T00:01:00+00:00"],
    ],
)
def test_iso_8601_texts_may_differ_in_form(tmp_path: Path, write_series: WriteSeries, times: list[str]) -> None:
    bars = read(write_series(tmp_path / "a.csv", [1.0, 2.0], datetime=times))
    assert bars.start == np.datetime64("2025-01-01T00:00")
    assert bars.price_T.tolist() == [1.0, 2.0]


def test_rows_need_no_order_and_the_last_row_of_a_minute_counts(tmp_path: Path, write_series: WriteSeries) -> None:
    times = [*minutes(2, 0, 1), "2025-01-01 00:00:30", *minutes(1)]
    bars = read(write_series(tmp_path / "a.csv", [5.0, 1.0, 2.0, 3.0, 4.0], datetime=times))
    assert bars.price_T.tolist() == [3.0, 4.0, 5.0]


def test_the_last_row_of_a_minute_is_the_last_by_time(tmp_path: Path, write_series: WriteSeries) -> None:
    seconds = ("00:59", "00:05", "01:00.000001", "01:00", "02:30", "02:30")
    times = [f"2025-01-01T00:{second}" for second in seconds]
    bars = read(write_series(tmp_path / "a.csv", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], datetime=times))
    assert bars.price_T.tolist() == [1.0, 3.0, 6.0]


@pytest.mark.parametrize("other", ["5", "1.5", "-1", "", str(2**63)])
def test_a_whole_number_beyond_64_bits_is_a_number(tmp_path: Path, other: str) -> None:
    (tmp_path / "a.csv").write_text(
        f"datetime,price,volume,supply\n2025-01-01T00:00,1,{10**24},{-(10**30)}\n2025-01-01T00:01,2,{other},{other}\n"
    )
    bars = read(tmp_path / "a.csv", ["supply"])
    assert bars.volume_T.tolist() == [1e24, max(float(other or 0), 0.0)]
    assert bars.extras_TE[:, 0].tolist() == [-1e30, float(other or -1e30)]


@pytest.mark.parametrize("kind", [pa.decimal128(38, 18), pa.decimal256(76, 18)])
def test_decimals_of_a_parquet_are_numbers(tmp_path: Path, kind: pa.DataType) -> None:
    amounts = pa.array([Decimal("1.5"), None, Decimal(10) ** 19], kind)
    times = pa.array(minutes(0, 1, 2)).cast(pa.timestamp("s"))
    table = pa.table({"datetime": times, "price": pa.array([1, 2, 3], kind), "volume": amounts, "supply": amounts})
    pq.write_table(table, tmp_path / "a.parquet")
    bars = read(tmp_path / "a.parquet", ["supply"])
    assert bars.price_T.tolist() == [1.0, 2.0, 3.0]
    assert bars.volume_T.tolist() == [1.5, 0.0, 1e19]
    assert bars.extras_TE[:, 0].tolist() == [1.5, 1.5, 1e19]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_gap_carries_price_and_extras_without_volume_and_counts_as_stale(
    tmp_path: Path, write_series: WriteSeries, suffix: str
) -> None:
    columns = {"datetime": minutes(0, 3, 4), "volume": [7.0, 8.0, 9.0], "holders": [10, 20, 30]}
    bars = read(write_series(tmp_path / f"a{suffix}", [1.0, 2.0, 3.0], **columns), ["holders"])
    assert bars.price_T.tolist() == [1, 1, 1, 2, 3]
    assert bars.volume_T.tolist() == [7, 0, 0, 8, 9]
    assert bars.observed_T.tolist() == [True, False, False, True, True]
    assert bars.staleness_T.tolist() == [0, 1, 2, 0, 0]
    assert bars.extras_TE[:, 0].tolist() == [10, 10, 10, 20, 30]


@pytest.mark.parametrize("bad", [0.0, 5e-324, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_price_that_is_no_positive_number_is_dropped_and_counted(
    tmp_path: Path, write_series: WriteSeries, bad: float, suffix: str
) -> None:
    bars = read(write_series(tmp_path / f"a{suffix}", [bad, 1.0, bad, 2.0]))
    assert bars.unusable_rows == 2
    assert bars.start == np.datetime64("2025-01-01T00:01")
    assert bars.price_T.tolist() == [1.0, 1.0, 2.0]
    assert bars.observed_T.tolist() == [True, False, True]


def test_a_dropped_row_does_not_hide_a_good_one_of_its_minute(tmp_path: Path, write_series: WriteSeries) -> None:
    bars = read(write_series(tmp_path / "a.csv", [2.0, 0.0], datetime=minutes(0, 0)))
    assert (bars.price_T.tolist(), bars.unusable_rows) == ([2.0], 1)


def test_a_row_without_a_time_is_dropped_and_counted(tmp_path: Path, write_series: WriteSeries) -> None:
    bars = read(write_series(tmp_path / "a.csv", [1.0, 2.0], datetime=[None, *minutes(5)]))
    assert (bars.price_T.tolist(), bars.unusable_rows) == ([2.0], 1)


def test_jumps_of_a_launch_are_kept(tmp_path: Path, write_series: WriteSeries) -> None:
    prices = [1e-12, 1e-3, 1e-12, 5e7]
    assert read(write_series(tmp_path / "a.parquet", prices)).price_T.tolist() == prices


@pytest.mark.parametrize("bad", [-3.0, math.nan, math.inf])
def test_a_volume_that_is_no_number_above_zero_is_zero(tmp_path: Path, write_series: WriteSeries, bad: float) -> None:
    bars = read(write_series(tmp_path / "a.parquet", [1.0, 2.0], volume=[bad, 4.0]))
    assert bars.volume_T.tolist() == [0.0, 4.0]


@pytest.mark.parametrize("columns", [{}, {"volume": [None, None]}])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_missing_or_empty_volume_is_zero(
    tmp_path: Path, write_series: WriteSeries, columns: dict[str, list[None]], suffix: str
) -> None:
    assert not read(write_series(tmp_path / f"a{suffix}", [1.0, 2.0], **columns)).volume_T.any()


def test_extra_columns_are_listed_by_name_and_their_gaps_take_the_last_known_value(
    tmp_path: Path, write_series: WriteSeries
) -> None:
    columns = {"volume": [1.0] * 4, "z": [math.nan, 1, math.inf, 3], "a": [1, 2, 3, 4]}
    path = write_series(tmp_path / "a.parquet", [1.0] * 4, **columns)
    assert further(path) == ("a", "z")
    assert read(path, ["a", "z"]).extras_TE.tolist() == [[1, 0], [2, 1], [3, 1], [4, 3]]


def test_bars_up_to_a_minute_do_not_depend_on_rows_after_it(tmp_path: Path, write_series: WriteSeries) -> None:
    rng = np.random.default_rng(3)
    times = minutes(*np.sort(rng.choice(90, 60, replace=False)))
    price, volume, extra = (rng.lognormal(size=60) for _ in range(3))
    extra[rng.random(60) < 0.3] = math.nan
    columns = {"datetime": times, "volume": volume, "extra": extra}
    whole = read(write_series(tmp_path / "whole.csv", price, **columns), ["extra"])
    for rows in (1, 20, 59):
        cut_columns = {name: values[:rows] for name, values in columns.items()}
        cut = read(write_series(tmp_path / "cut.csv", price[:rows], **cut_columns), ["extra"])
        for name in ("price_T", "volume_T", "observed_T", "staleness_T", "extras_TE"):
            np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name)[: len(cut)], err_msg=name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"bad\.csv cannot be read \(No columns"),
        (
            "\0\1\2",
            r"no column for the time: one of datetime, date, .*is required, or --columns time=NAME",
        ),
        (
            "datetime,volume\n2025-01-01,1\n",
            r"no column for the price: one of price, close is required, or --columns price=NAME",
        ),
        ("when,price\n2025-01-01,1\n", r"no column for the time: .*; it has \['when', 'price'\]"),
        ("datetime,price\n", r"bad\.csv has no rows"),
        ("datetime,price\n2025-01-01,0\n2025-01-02,-1\n,1\n", r"no usable row: .* finite price above zero"),
        ("datetime,price\n2025-01-01,\n", r"no usable row"),
        ("datetime,price\n2025-01-01,1\n2025-01-02,abc\n", r"'price' must hold numbers, got 'abc' in row 1"),
        ('datetime,price\n2025-01-01,"1,000"\n', r"'price' must hold numbers, got '1,000' in row 0"),
        ("datetime,price,volume\n2025-01-01,1,lots\n", r"'volume' must hold numbers, got 'lots' in row 0"),
        ("datetime,price\n17356896,1\n", r"'datetime' holds what is not a time \(17356896\.0\): write times as"),
        (
            "timestamp,price\n1735689600,1\n1735689660000,2\n",
            r"'timestamp' holds seconds and milliseconds since 1970: .* in one unit",
        ),
        (
            "datetime,price\n2025-01-01,1\nhello,2\n",
            r"'datetime' holds what is not a time \(.*hello.*\): write",
        ),
        ("datetime,price\n01/02/2025,1\n13/02/2025,2\n", r"not a time \(.*01/02/2025.*ISO 8601"),
        ("datetime,price\n2025-01-01,1\nnow,2\n", r"holds what is not a time \('now'\): write"),
        ("datetime,price\ntoday,2\n", r"holds what is not a time \('today'\): write"),
        ("datetime,price\n,1\n,2\n", r"column 'datetime' is empty: write times"),
        ("datetime,price,price\n2025-01-01,1,2\n", r"column 'price' more than once: keep one"),
        ("datetime,datetime,price\n2025-01-01,2025-01-01,1\n", r"column 'datetime' more than once: keep one"),
        (f"datetime,price\n2025-01-01,{10**24}\n2025-01-02,abc\n", r"must hold numbers, got 'abc' in row 1: write a"),
        (f"datetime,price\n2025-01-01,{10**24}\n2025-01-02,True\n", r"must hold numbers, got 'True' in row 1"),
        (f"datetime,price\n2025-01-01,{'x' * 999}\n", r"got 'x{76}\.\.\. in row 0"),
        (f"datetime,price\n{'x' * 999},1\n", r"not a time \(.{77}\.\.\.\): write"),
        ("datetime,price\n2025-01-01,\x1b[31m1\n", r"got '\\x1b\[31m1' in row 0"),
        ('datetime,price\n"2025-01-01,1\n', r"bad\.csv cannot be read \(Error tokenizing"),
    ],
)
def test_a_bad_csv_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path / "bad.csv")
    assert str(error.value).isprintable()


TIMES = pa.array(["2025-01-01T00:00", "2025-01-01T00:01"]).cast(pa.timestamp("us"))
PRICES = pa.array([1.0, 2.0])
BOOL8 = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0], pa.int8()))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([("datetime", TIMES)], r"no column for the price"),
        ([("datetime", pa.array([1, 2])), ("price", PRICES)], r"'datetime' holds what is not a time \(1\.0\)"),
        ([("datetime", TIMES), ("price", pa.array(["1", "2"]))], r"must hold numbers, got '1' in row 0"),
        ([("datetime", TIMES), ("price", pa.array([True, False]))], r"must hold numbers, got .*True.* row 0"),
        ([("datetime", TIMES), ("price", pa.array([[1.0], [2.0]]))], r"must hold numbers, got .* in row 0"),
        ([("datetime", TIMES), ("price", PRICES), ("price", PRICES)], r"column 'price' more than once"),
        ([("datetime", TIMES), ("price", PRICES), ("e", pa.array([None, "x"]))], r"'e' must .* 'x' in row 1"),
        ([("datetime", pa.array([1, 2], pa.time64("us"))), ("price", PRICES)], r"not a time"),
        ([("datetime", pa.array([1, 2], pa.duration("s"))), ("price", PRICES)], r"not a time"),
        (
            [("datetime", TIMES), ("price", BOOL8)],
            r"column 'price' has extension type .*bool8.*, store it as plain numbers",
        ),
    ],
)
def test_a_bad_parquet_is_refused_in_one_line(
    tmp_path: Path, columns: list[tuple[str, pa.Array]], message: str
) -> None:
    names, arrays = zip(*columns, strict=True)
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.Table.from_arrays(arrays, names=names), path)
    with pytest.raises(InputError, match=message) as error:
        read(path, [name for name in further(path) if "price" in names])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_parquet_is_refused(tmp_path: Path, write_series: WriteSeries, share: float) -> None:
    path = write_series(tmp_path / "a.parquet", np.arange(1.0, 500.0))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"a\.parquet cannot be read \(.*truncated or of another format"):
        read(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv cannot be read"):
        read(tmp_path / "gone.csv")


def test_a_csv_row_with_more_fields_than_the_header_is_refused_and_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "decimal_comma.csv"
    path.write_text("datetime,price\n2025-01-01 00:00,1,57\n2025-01-01 00:01,1,58\n")
    with pytest.raises(InputError, match="cannot be read"):
        read(path)


def test_a_late_text_in_a_long_price_column_costs_no_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "long.csv"
    rows = [f"2025-01-01T00:00:{second % 60:02},1.5" for second in range(300_000)]
    rows[290_000] = "2025-01-01T00:00:00,oops"
    path.write_text("datetime,price\n" + "\n".join(rows))
    with pytest.raises(InputError, match="got 'oops' in row 290000"):
        read(path)
    assert len(recwarn) == 0


def test_a_name_that_is_not_utf8_is_refused_in_print(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.csv"))
    path.write_text("datetime,price\n2025-01-01,1\n")
    with pytest.raises(InputError, match=r"bad\\xff\.csv: the name is not UTF-8"):
        read(path)


def test_a_saved_row_number_is_no_feature(tmp_path: Path, write_series: WriteSeries) -> None:
    path = write_series(tmp_path / "a.csv", [1.0, 2.0], strength=[3.0, 4.0])
    pd.read_csv(path).to_csv(path)
    assert further(path) == ("strength",)
