"""The layouts in which people have such data are read without renaming, alike; what is damaged of them is said."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridtune.data.columns import Columns, parse_columns
from hybridtune.data.find import find_series
from hybridtune.data.long_tables import series_below
from hybridtune.data.prepare import prepare
from hybridtune.data.prepare_config import PrepareConfig
from hybridtune.data.read import read_series
from hybridtune.data.schema import InputError
from hybridtune.data.split import Shares
from hybridtune.data.store import Dataset

Launches = Mapping[str, pd.DataFrame]

CONFIG: dict[str, Any] = {
    "horizons": (2, 5),
    "shares": Shares(0.25, 0.25, 0.25, 0.25),
    "expanding_min": 4,
    "expanding_max": 12,
    "anchor_stride": 4,
}
RATIOS = ("open_ratio", "high_ratio", "low_ratio")


@pytest.fixture
def launches() -> Launches:
    """Eight of 20 one-minute candles, a day apart, the seventh minute of each without a trade."""
    rng, found = np.random.default_rng(0), {}
    for day in range(8):
        time = np.datetime64(f"2025-01-{day + 1:02}T00:00", "us") + np.delete(np.arange(20), 7) * np.timedelta64(1, "m")
        ends = np.exp(rng.normal(0, 0.1, 20).cumsum())
        close, opened = ends[1:], ends[:-1]
        high, low = np.maximum(close, opened) * 1.01, np.minimum(close, opened) * 0.99
        columns = {"open": opened, "high": high, "low": low, "close": close, "volume": rng.lognormal(size=19)}
        found[f"TOKEN{day}"] = pd.DataFrame({"time": time, **columns})
    return found


def epoch(table: pd.DataFrame, a_second: int) -> pd.DataFrame:
    seconds = table["time"].to_numpy().astype("datetime64[s]").astype(np.int64)
    return table.assign(time=seconds * a_second).rename(columns={"time": "timestamp"})


def ccxt(launches: Launches, raw: Path, a_second: int = 1000) -> None:
    for name, table in launches.items():
        epoch(table, a_second).to_csv(raw / f"{name}.csv", index=False)


def freqtrade(launches: Launches, raw: Path) -> None:
    for name, table in launches.items():
        times = table["time"].dt.tz_localize("UTC").astype("datetime64[ms, UTC]")
        table.assign(time=times).rename(columns={"time": "date"}).to_feather(raw / f"{name}.feather")


def long_table(launches: Launches, raw: Path) -> None:
    parts = [table.assign(symbol=name).rename(columns={"time": "ts"}) for name, table in launches.items()]
    pd.concat(parts).sample(frac=1, random_state=0).to_parquet(raw / "all.parquet")


def two_long_tables(launches: Launches, raw: Path) -> None:
    """By time, so that a series is in both."""
    whole = pd.concat([table.assign(Token=name) for name, table in launches.items()])
    whole = whole.sort_values("time", ignore_index=True)
    whole[:70].to_csv(raw / "0.csv", index=False)
    whole[70:].to_csv(raw / "1.csv", index=False)


def hive(launches: Launches, raw: Path) -> None:
    for name, table in launches.items():
        folder = raw / "date=2025" / f"token={name}"
        folder.mkdir(parents=True)
        for number, part in enumerate((table[10:], table[:10])):
            part.to_parquet(folder / f"part-{number}.parquet")


def geckoterminal(launches: Launches, raw: Path) -> None:
    for name, table in launches.items():
        rows = epoch(table, 1).iloc[::-1].to_numpy().tolist()
        answer = {"data": {"attributes": {"ohlcv_list": rows}}, "meta": {"base": {"name": name}}}
        (raw / f"{name}.json").write_text(json.dumps(answer))


def bare_lists(launches: Launches, raw: Path) -> None:
    for name, table in launches.items():
        (raw / f"{name}.json").write_text(json.dumps(epoch(table, 1000).to_numpy().tolist()))


LAYOUTS = {
    "ccxt in s": lambda launches, raw: ccxt(launches, raw, 1),
    "ccxt in ms": ccxt,
    "ccxt in us": lambda launches, raw: ccxt(launches, raw, 10**6),
    "ccxt in ns": lambda launches, raw: ccxt(launches, raw, 10**9),
    "freqtrade": freqtrade,
    "long table": long_table,
    "two long tables": two_long_tables,
    "hive": hive,
    "geckoterminal": geckoterminal,
    "bare lists": bare_lists,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_dataset(launches: Launches, tmp_path: Path, layout: str) -> None:
    raw, plain = tmp_path / "raw", tmp_path / "plain"
    raw.mkdir()
    plain.mkdir()
    LAYOUTS[layout](launches, raw)
    for name, table in launches.items():
        table.rename(columns={"time": "datetime"}).to_parquet(plain / f"{name}.parquet")
    info = prepare(raw, tmp_path / "out", PrepareConfig(**CONFIG))
    expected = prepare(plain, tmp_path / "expected", PrepareConfig(**CONFIG))
    assert info.fingerprint == expected.fingerprint
    assert info.rejected == ()
    assert info.extras == RATIOS
    dataset = Dataset(tmp_path / "out")
    assert dataset.series.name_M == tuple(launches)
    lines = "\n".join(info.summary())
    assert f"time from {info.columns.time!r}, price from 'close', volume from 'volume', open from 'open'" in lines
    # What a bundle of it would read.
    with series_below(raw, info.columns.id) as found:
        assert [file.name for file in found.files] == list(launches)
        bars = read_series(found.files[3], info.columns, info.extras)
    table = launches["TOKEN3"]
    logs = np.log(table[["open", "high", "low"]].to_numpy() / table[["close"]].to_numpy())
    np.testing.assert_allclose(bars.extras_TE[bars.observed_T], logs, atol=1e-12)
    assert bars.extras_TE[7].tolist() == [0, 0, 0]
    assert not bars.observed_T[7]


def test_columns_of_other_names_are_given(launches: Launches, tmp_path: Path) -> None:
    parts = [
        table.rename(columns={"time": "when", "close": "last"})
        .drop(columns=["open", "high", "low"])
        .assign(coin=number)
        for number, table in enumerate(launches.values())
    ]
    pd.concat(parts).to_csv(tmp_path / "all.csv", index=False)
    given = "id=coin,time=when,price=last"
    info = prepare(tmp_path / "all.csv", tmp_path / "out", PrepareConfig(**CONFIG, columns=given))
    assert info.columns == Columns(id="coin", time="when", price="last", volume="volume")
    assert Dataset(tmp_path / "out").series.name_M == tuple(map(str, range(8)))
    with pytest.raises(InputError, match=r"no usable series: .*all\.csv has no column for the time: one of datetime"):
        prepare(tmp_path / "all.csv", tmp_path / "again", PrepareConfig(**CONFIG))


@pytest.mark.parametrize(
    ("text", "why"),
    [("id", "got 'id'"), ("id=", "got 'id='"), ("what=x", "of time, price"), ("id=a,id=b", "got 'id=a,id=b'")],
)
def test_columns_are_given_as_roles_and_names(text: str, why: str) -> None:
    with pytest.raises(InputError, match=f"columns must be like id=token,.*{why}"):
        parse_columns(text)


def test_the_name_of_a_single_series_in_its_file_is_no_feature(launches: Launches, tmp_path: Path) -> None:
    for name, table in launches.items():
        table.assign(symbol=name, timestamp=1).to_csv(tmp_path / f"{name}.csv", index=False)
    info = prepare(tmp_path, tmp_path / "out", PrepareConfig(**CONFIG, columns="time=time"))
    assert (info.extras, info.columns.id) == (RATIOS, None)


Damage = Callable[[Launches, Path], None]


def spacing_of_five(launches: Launches, raw: Path) -> None:
    ccxt(launches, raw)
    table = launches["TOKEN2"]
    epoch(table.assign(time=table["time"].iloc[0] + np.arange(19) * np.timedelta64(5, "m")), 1000).to_csv(
        raw / "TOKEN2.csv", index=False
    )


def ten_seconds(launches: Launches, raw: Path) -> None:
    ccxt(launches, raw)
    table = launches["TOKEN2"]
    epoch(table.assign(time=table["time"].iloc[0] + np.arange(19) * np.timedelta64(10, "s")), 1).to_csv(
        raw / "TOKEN2.csv", index=False
    )


def within_each_minute(offsets: Sequence[int], apart: int = 60) -> Damage:
    """Rows so many seconds after each minute."""

    def write(launches: Launches, raw: Path) -> None:
        ccxt(launches, raw)
        table = launches["TOKEN2"]
        start = table["time"].iloc[0]
        times = [start + pd.Timedelta(seconds=apart * row + offset) for row in range(len(table)) for offset in offsets]
        rows = table.loc[table.index.repeat(len(offsets))].assign(time=times)
        epoch(rows, 1).to_csv(raw / "TOKEN2.csv", index=False)

    return write


def two_units(launches: Launches, raw: Path) -> None:
    ccxt(launches, raw)
    table = epoch(launches["TOKEN2"], 1000)
    table.loc[3, "timestamp"] //= 1000
    table.to_csv(raw / "TOKEN2.csv", index=False)


def mixed_layouts(launches: Launches, raw: Path) -> None:
    ccxt(launches, raw)
    launches["TOKEN2"].rename(columns={"time": "datetime"}).to_csv(raw / "TOKEN2.csv", index=False)


def duplicate_names(launches: Launches, raw: Path) -> None:
    ccxt(launches, raw)
    (raw / "more").mkdir()
    epoch(launches["TOKEN2"], 1000).to_csv(raw / "more" / "TOKEN2.csv", index=False)


def no_volume(launches: Launches, raw: Path) -> None:
    ccxt(launches, raw)
    epoch(launches["TOKEN2"], 1000).drop(columns="volume").to_csv(raw / "TOKEN2.csv", index=False)


def other_parts(launches: Launches, raw: Path) -> None:
    hive(launches, raw)
    launches["TOKEN2"].drop(columns="low").to_parquet(raw / "date=2025" / "token=TOKEN2" / "part-2.parquet")


def broken_list(launches: Launches, raw: Path) -> None:
    bare_lists(launches, raw)
    (raw / "TOKEN2.json").write_text("[[1735689600, 1, 2, 3]]")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (spacing_of_five, r"TOKEN2\.csv has bars 5 minutes apart: write one-minute bars"),
        (ten_seconds, r"TOKEN2\.csv has bars 10 seconds apart: write one-minute bars"),
        (
            within_each_minute([0, 0, 0, 1, 1, 1, 2, 2]),
            r"TOKEN2\.csv has 3 rows at the same time, as trades",
        ),
        (within_each_minute([0, 1, 2]), r"TOKEN2\.csv has bars 1 seconds apart: write one-minute bars"),
        (within_each_minute([0, 0], apart=300), r"TOKEN2\.csv has bars 5 minutes apart: write one-minute bars"),
        (two_units, r"TOKEN2\.csv: column 'timestamp' holds seconds and milliseconds since 1970: write times as"),
        (mixed_layouts, r"TOKEN2\.csv: its column for the time is 'datetime', that of most files 'timestamp': give it"),
        (duplicate_names, r"more/TOKEN2\.csv: another series is named TOKEN2 too, rename one"),
        (no_volume, r"TOKEN2\.csv: its column for the volume is none, that of most files 'volume'"),
        (other_parts, r"part-2\.parquet has other columns than .*part-0\.parquet: give all parts of a series the same"),
        (
            broken_list,
            r"TOKEN2\.json holds no list of candles: \[\[timestamp, open, high, low, close, volume\], \.\.\.",
        ),
    ],
)
def test_a_damaged_series_is_rejected_in_one_line(
    launches: Launches, tmp_path: Path, damage: Damage, reason: str
) -> None:
    (tmp_path / "raw").mkdir()
    damage(launches, tmp_path / "raw")
    info = prepare(tmp_path / "raw", tmp_path / "out", PrepareConfig(**CONFIG))
    (rejected,) = info.rejected
    assert re.search(reason, rejected.reason)
    assert "\n" not in rejected.reason
    with pytest.raises(InputError, match=reason):
        prepare(tmp_path / "raw", tmp_path / "strict", PrepareConfig(**CONFIG, strict=True))


def test_a_series_of_a_file_and_of_a_table_is_predicted_once(launches: Launches, tmp_path: Path) -> None:
    long_table(launches, tmp_path)
    launches["TOKEN2"].rename(columns={"time": "ts"}).to_parquet(tmp_path / "TOKEN2.parquet")
    with series_below(tmp_path, "symbol") as found:
        assert sorted(file.name for file in found.files) == sorted(launches)
        assert [problem.path.name for problem in found.problems] == ["TOKEN2"]


def test_long_tables_of_different_columns_and_without_names_are_refused(launches: Launches, tmp_path: Path) -> None:
    two_long_tables(launches, tmp_path)
    pd.read_csv(tmp_path / "1.csv").drop(columns="low").to_csv(tmp_path / "1.csv", index=False)
    with pytest.raises(InputError, match=r"1\.csv has other columns than .*0\.csv: give all tables the same"):
        prepare(tmp_path, tmp_path / "out", PrepareConfig(**CONFIG))
    (tmp_path / "1.csv").unlink()
    pd.read_csv(tmp_path / "0.csv").assign(Token=np.nan).to_csv(tmp_path / "0.csv", index=False)
    with pytest.raises(InputError, match=r"column 'Token' is empty, it has to name the series of each row"):
        prepare(tmp_path, tmp_path / "out", PrepareConfig(**CONFIG, columns="id=Token"))


def test_a_long_table_needs_a_copy_that_all_see(launches: Launches, tmp_path: Path) -> None:
    """On hosts that did not see it every series was rejected: of a file that is not there."""
    (raw := tmp_path / "raw").mkdir()
    long_table(launches, raw)
    with pytest.raises(InputError, match=r"all.parquet holds many series, .* leave --address away"):
        prepare(raw, tmp_path / "out", PrepareConfig(**CONFIG), sees_out=False)
    assert not (tmp_path / "out").exists()
    (files := tmp_path / "files").mkdir()
    ccxt(launches, files)
    prepare(files, tmp_path / "out", PrepareConfig(**CONFIG), sees_out=False)


def write(launches: Launches, path: Path, key: str, **more: Callable[[str], object]) -> pd.DataFrame:
    parts = [
        table.assign(**{key: name}, **{column: make(name) for column, make in more.items()})
        for name, table in launches.items()
    ]
    whole = pd.concat(parts).rename(columns={"time": "ts"})
    whole.to_parquet(path)
    return whole


def names(dataset: Path) -> tuple[str, ...]:
    return Dataset(dataset).series.name_M


def test_two_columns_that_group_rows_otherwise_are_not_guessed_between(launches: Launches, tmp_path: Path) -> None:
    """Of three tokens that share a symbol one series was made, and nothing was said."""
    table = tmp_path / "all.parquet"
    write(launches, table, "mint", symbol=lambda name: "PEPE" if name < "TOKEN3" else name)
    with pytest.raises(InputError, match=r"columns 'symbol' and 'mint' both name its rows, and not alike: take"):
        prepare(table, tmp_path / "out", PrepareConfig(**CONFIG))
    prepare(table, tmp_path / "out", PrepareConfig(**CONFIG, columns="id=mint"))
    assert names(tmp_path / "out") == tuple(launches)
    # One that is the same everywhere, or another for each row, names no series.
    for other in (lambda name: "SOL", lambda name: np.arange(len(launches[name])) + 1000 * int(name[5:])):
        table.unlink()
        write(launches, table, "mint", symbol=other)
        prepare(table, tmp_path / f"out {other}", PrepareConfig(**CONFIG))
        assert names(tmp_path / f"out {other}") == tuple(launches)


def test_a_column_that_numbers_the_rows_makes_no_table_of_many_series(launches: Launches, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for name, table in launches.items():
        epoch(table.assign(id=range(len(table))), 1).to_csv(tmp_path / "raw" / f"{name}.csv", index=False)
    prepare(tmp_path / "raw", tmp_path / "out", PrepareConfig(**CONFIG))
    assert names(tmp_path / "out") == tuple(launches)


def test_a_name_of_the_series_that_nothing_has_is_refused(launches: Launches, tmp_path: Path) -> None:
    write(launches, tmp_path / "all.parquet", "mint")
    with pytest.raises(InputError, match="no file has a column 'mnt', and no folder that key"):
        prepare(tmp_path / "all.parquet", tmp_path / "out", PrepareConfig(**CONFIG, columns="id=mnt"))


def test_names_are_read_as_they_are_written_and_rows_without_one_are_counted(
    launches: Launches, tmp_path: Path
) -> None:
    """NA, None and nan vanished, and 1 and 01 were one token."""
    written = ["NA", "None", "nan", "NULL", "01", "1", "1.0", "N/A"]
    named = dict(zip(launches, written, strict=True))
    whole = pd.concat([table.assign(token=named[name]) for name, table in launches.items()])
    nameless = pd.concat([whole, launches["TOKEN0"].assign(token="")]).rename(columns={"time": "ts"})
    nameless.to_csv(tmp_path / "all.csv", index=False)
    info = prepare(tmp_path / "all.csv", tmp_path / "out", PrepareConfig(**CONFIG))
    assert sorted(names(tmp_path / "out")) == sorted(written)
    (problem,) = info.rejected
    assert problem.reason.endswith("all.csv: 19 rows without a name in column 'token' are left out: write it there")


def test_categories_and_numbers_name_series_as_text_does(launches: Launches, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("text", "categories", "mixed")]
    for folder in folders:
        folder.mkdir()
    text = write(launches, folders[0] / "a.parquet", "token")
    text.assign(token=text["token"].astype("category"), kind=pd.Categorical(["x"] * len(text))).drop(
        columns="kind"
    ).to_parquet(folders[1] / "a.parquet")
    numbered = text["token"].str[5:]
    early = numbered < "4"
    text.assign(token=numbered)[~early].to_parquet(folders[2] / "b.parquet")
    text.assign(token=numbered.where(early, "0").astype(int))[early].to_parquet(folders[2] / "a.parquet")
    for folder in folders:
        prepare(folder, folder / "out", PrepareConfig(**CONFIG))
    assert names(folders[0] / "out") == names(folders[1] / "out") == tuple(launches)
    assert names(folders[2] / "out") == tuple("01234567")


def test_a_day_on_which_one_token_alone_was_traded_belongs_to_the_others(launches: Launches, tmp_path: Path) -> None:
    whole = write(launches, tmp_path / "all.parquet", "token")
    days = tmp_path / "days"
    days.mkdir()
    for day, part in whole.groupby(whole["ts"].dt.date):
        part.to_parquet(days / f"{day}.parquet")
    assert all(pd.read_parquet(path)["token"].nunique() == 1 for path in days.iterdir())
    # Two tokens on the first, so that it is clear that there are many.
    first, second, *_ = sorted(days.iterdir())
    pd.concat([pd.read_parquet(first), pd.read_parquet(second)]).to_parquet(first)
    second.unlink()
    info = prepare(days, tmp_path / "out", PrepareConfig(**CONFIG))
    assert info.rejected == ()
    assert (
        info.fingerprint == prepare(tmp_path / "all.parquet", tmp_path / "again", PrepareConfig(**CONFIG)).fingerprint
    )


def test_tables_stand_beside_files_of_their_own(launches: Launches, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    alone = {name: launches[name] for name in ("TOKEN2", "TOKEN5")}
    write({name: table for name, table in launches.items() if name not in alone}, raw / "all.parquet", "token")
    for name, table in alone.items():
        table.rename(columns={"time": "ts"}).to_parquet(raw / f"{name}.parquet")
    info = prepare(raw, tmp_path / "out", PrepareConfig(**CONFIG))
    assert info.rejected == ()
    assert sorted(names(tmp_path / "out")) == list(launches)
    assert info.columns.id == "token"


@pytest.mark.parametrize("column", [None, "symbol"])
def test_a_table_is_predicted_series_by_series_whatever_the_bundle_was_made_of(
    launches: Launches, tmp_path: Path, column: str | None
) -> None:
    """Its tokens were one series, minute by minute."""
    write(launches, tmp_path / "all.parquet", "token")
    with series_below(tmp_path, column) as found:
        assert [file.name for file in found.files] == list(launches)


def test_what_is_refused_does_not_tell_when_the_collection_ended(launches: Launches, tmp_path: Path) -> None:
    """An hourly file, or a row without a price, made outcomes of labels that nobody knows."""
    plain, more = tmp_path / "plain", tmp_path / "more"
    for folder in (plain, more):
        folder.mkdir()
        ccxt(launches, folder)
    last = launches["TOKEN7"]["time"].iloc[-1]
    later = pd.DataFrame({"time": [last + pd.Timedelta(days=2)], "close": [np.nan], "volume": [1.0]})
    epoch(pd.concat([launches["TOKEN7"], later]), 1000).to_csv(more / "TOKEN7.csv", index=False)
    hourly = launches["TOKEN0"].assign(time=last + np.arange(19) * np.timedelta64(1, "h"))
    epoch(hourly, 1000).to_csv(more / "BTC.csv", index=False)
    expected = prepare(plain, tmp_path / "expected", PrepareConfig(**CONFIG))
    info = prepare(more, tmp_path / "out", PrepareConfig(**CONFIG))
    assert (info.fingerprint, info.collected_until) == (expected.fingerprint, expected.collected_until)
    assert [problem.path.endswith("BTC.csv") for problem in info.rejected] == [True]


def test_a_dataset_without_any_volume_says_so(launches: Launches, tmp_path: Path) -> None:
    for name, table in launches.items():
        table[["time", "close"]].to_csv(tmp_path / f"{name}.csv", index=False)
    info = prepare(tmp_path, tmp_path / "out", PrepareConfig(**CONFIG))
    assert "no volume: its features are constant" in "\n".join(info.summary())


def test_the_parts_of_a_series_are_one_whatever_folders_lie_between(tmp_path: Path) -> None:
    for path in ("chain=sol/token=A/1.csv", "day=2/token=A/0.csv", "dead/mint=B/0.csv"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("time,price\n")
    assert [(f.name, f.category, len(f.paths)) for f in find_series(tmp_path).files] == [("A", "", 2), ("B", "dead", 1)]
    assert [f.name for f in find_series(tmp_path, "chain").files] == ["0", "sol"]
    # As it is written on the folder, or not.
    assert [f.name for f in find_series(tmp_path, "Chain").files] == ["0", "sol"]
