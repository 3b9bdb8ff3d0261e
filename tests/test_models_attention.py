"""What `predict --explain` writes is what the model did: the same weights, at every anchor, and nothing later."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SCORE, Workplace, WriteSeries, read

import hybridtune.models.bundle.row_groups
from hybridtune.data.columns import Columns
from hybridtune.data.features import features, formulas_digest
from hybridtune.data.find import find_series
from hybridtune.data.schema import InputError
from hybridtune.data.store import Dataset
from hybridtune.models.architectures.basic_lstm import BasicLSTM
from hybridtune.models.architectures.forecaster import Forecaster
from hybridtune.models.architectures.hybrid_lstm import HybridLSTM
from hybridtune.models.architectures.registry import ModelConfig, build_model, config_values
from hybridtune.models.architectures.scaler import train_bars
from hybridtune.models.architectures.tcn import TCN
from hybridtune.models.architectures.transformer import Transformer
from hybridtune.models.bundle.attention import AttentiveMember
from hybridtune.models.bundle.attention_folder import DRAWN_ANCHORS, AttentionFolder, Example
from hybridtune.models.bundle.bundle import BundleDocument, MemberEntry, save_bundle
from hybridtune.models.bundle.calibration import Calibration
from hybridtune.models.bundle.minutes import EVERY_MINUTE, At, Every, Last, Requested
from hybridtune.models.bundle.predict import predict_folder

HORIZONS = (15, 60)
HEADS, SPAN, WINDOWS = 2, 100, (5, 30)
MINUTES = (60, 130, 239)


def configs(size: int) -> dict[str, ModelConfig]:
    return {
        "hybrid": HybridLSTM.Config(
            input_size=size,
            horizons=2,
            windows=WINDOWS,
            hidden_size=8,
            attention_heads=HEADS,
            attention_span=SPAN,
            positions="rotary",
        ),
        "transformer": Transformer.Config(input_size=size, horizons=2, hidden_size=8, attention_heads=HEADS),
        "basic": BasicLSTM.Config(input_size=size, horizons=2, window=20, hidden_size=8),
        "tcn": TCN.Config(input_size=size, horizons=2, levels=2, hidden_size=8),
    }


@pytest.fixture(scope="module")
def members(dataset: Dataset) -> dict[str, Forecaster]:
    built = {}
    for seed, (name, config) in enumerate(configs(len(dataset.info.features)).items()):
        model = build_model(config, seed).eval()
        model.scaling.fit(train_bars(dataset))
        # Fresh weights look everywhere alike; a mistake would not show.
        for part, parameter in model.named_parameters():
            if part.endswith("query.weight"):
                parameter.data *= 30
        built[name] = model
    return built


def bundle_of(out: Path, members: dict[str, Forecaster], weights: dict[str, float], dataset: Dataset) -> Path:
    """Of the members that have a weight."""
    entries = []
    for number, (name, weight) in enumerate(weights.items()):
        architecture, config = config_values(members[name].config)
        file = f"member-{number}.safetensors"
        entries.append(
            MemberEntry(
                id=name, origin=name, file=file, architecture=architecture, config=config, weights=(weight, weight)
            )
        )
    document = BundleDocument(
        horizons=HORIZONS,
        features=dataset.info.features,
        extras=(),
        formulas=formulas_digest(),
        columns=Columns(),
        expanding_min=dataset.info.expanding_min,
        expanding_max=dataset.info.expanding_max,
        members=tuple(entries),
        best_single=entries[0].id,
        blending="convex",
        calibration=(Calibration(),) * len(HORIZONS),
        test=(SCORE,) * len(HORIZONS),
        provenance={"dataset": dataset.info.fingerprint, "hybridtune": "0"},
    )
    save_bundle(out, document, {name: members[name].state_dict() for name in weights}, entries[0], "# card\n")
    return out


@pytest.fixture
def bundle(tmp_path: Path, members: dict[str, Forecaster], dataset: Dataset) -> Path:
    """The heaviest member has no attention, the next is the hybrid."""
    return bundle_of(tmp_path / "bundle", members, {"transformer": 0.1, "basic": 0.6, "hybrid": 0.3}, dataset)


def no_page(path: Path, member: AttentiveMember, horizons: tuple[int, ...], examples: list[Example]) -> None:
    """Where the page is not what is tested."""


def explained(bundle: Path, raw: Path, folder: Path, requested: Requested = At(MINUTES)) -> Path:  # noqa: B008 frozen
    predict_folder(bundle, raw, folder.with_suffix(".parquet"), requested, AttentionFolder(folder, no_page))
    return folder


def weights_alone(model: Forecaster, x_TF: np.ndarray, minute: int) -> tuple[np.ndarray, np.ndarray | None]:
    """(heads x minutes, heads x windows) from the bars up to a minute, and nothing else."""
    maps = model.attention(torch.from_numpy(x_TF[None, : minute + 1].copy()), torch.tensor([[minute]]))
    assert maps is not None
    return maps.minutes[0, :, 0].numpy(), None if maps.windows is None else maps.windows[0, :, 0].numpy()


@pytest.mark.parametrize("name", ["hybrid", "transformer"])
def test_weights_are_those_of_the_series_cut_at_the_anchor_and_fed_alone(
    name: str, raw: Path, tmp_path: Path, members: dict[str, Forecaster], dataset: Dataset
) -> None:
    folder = explained(bundle_of(tmp_path / "bundle", members, {name: 1.0}, dataset), raw, tmp_path / "ex")
    minutes = pd.read_parquet(folder / "minutes.parquet").set_index(["series", "anchor"])
    windows = pd.read_parquet(folder / "windows.parquet").set_index(["series", "anchor"]) if name == "hybrid" else None
    assert len(minutes.index.unique()) == len(find_series(raw).files) * len(MINUTES)
    for file in find_series(raw).files[:5]:
        x_TF = features(read(file.path))
        for anchor in MINUTES:
            minutes_ET, windows_ES = weights_alone(members[name], x_TF, anchor)
            part = minutes.loc[file.name, anchor].pivot(index="head", columns="minute", values="weight")
            assert part.columns.tolist() == list(range(anchor + 1))
            assert part.index.tolist() == list(range(HEADS))
            np.testing.assert_allclose(part, minutes_ET, atol=1e-5)
            assert part.to_numpy().max() > 2 / SPAN
            if windows is not None:
                part = windows.loc[file.name, anchor].pivot(index="head", columns="window", values="weight")
                assert part.columns.tolist() == list(WINDOWS)
                np.testing.assert_allclose(part, windows_ES, atol=1e-5)


def test_a_heads_weights_sum_to_one_and_lie_within_its_span(bundle: Path, raw: Path, tmp_path: Path) -> None:
    folder = explained(bundle, raw, tmp_path / "ex")
    minutes = pd.read_parquet(folder / "minutes.parquet")
    for table in (minutes, pd.read_parquet(folder / "windows.parquet")):
        sums = table.groupby(["series", "anchor", "head"], observed=True)["weight"].sum()
        assert len(sums) == len(find_series(raw).files) * len(MINUTES) * HEADS
        np.testing.assert_allclose(sums, 1, atol=1e-5)
    assert (minutes["minute"] <= minutes["anchor"]).all()
    beyond = minutes["minute"] <= minutes["anchor"] - SPAN
    assert beyond.any()
    assert (minutes.loc[beyond, "weight"] == 0).all()
    assert (minutes.loc[~beyond, "weight"] > 0).all()


@pytest.mark.parametrize("requested", [At(MINUTES), At(tuple(range(59, 240))), Last()])
def test_explaining_changes_no_prediction(bundle: Path, raw: Path, tmp_path: Path, requested: Requested) -> None:
    explained(bundle, raw, tmp_path / "ex", requested)
    predict_folder(bundle, raw, tmp_path / "plain.parquet", requested)
    plain = pd.read_parquet(tmp_path / "plain.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "ex.parquet"), plain, check_exact=True)
    anchors = pd.read_parquet(tmp_path / "ex" / "windows.parquet")[["series", "anchor"]].drop_duplicates()
    expected = plain[["series", "minute"]].drop_duplicates()
    assert anchors.to_numpy().tolist() == expected.to_numpy().tolist()


def test_the_heaviest_member_with_attention_is_explained_and_named(bundle: Path, raw: Path, tmp_path: Path) -> None:
    summary = predict_folder(bundle, raw, tmp_path / "out", Last(), AttentionFolder(tmp_path / "ex", no_page))
    assert str(summary.attentive) == "hybrid (hybrid_lstm, mean weight 0.30 in the ensemble)"
    for name in ("minutes", "windows"):
        about = pq.read_schema(tmp_path / "ex" / f"{name}.parquet").metadata
        assert (about[b"member"], about[b"architecture"], about[b"mean_weight"]) == (b"hybrid", b"hybrid_lstm", b"0.3")
    assert predict_folder(bundle, raw, tmp_path / "plain", Last()).attentive is None


def test_columns_are_compact(bundle: Path, raw: Path, tmp_path: Path) -> None:
    folder = explained(bundle, raw, tmp_path / "ex")
    for name, key in (("minutes", "minute"), ("windows", "window")):
        columns = {
            "series": pa.dictionary(pa.int32(), pa.string()),
            "anchor": pa.int32(),
            "head": pa.int16(),
            key: pa.int32(),
            "weight": pa.float32(),
        }
        assert pq.read_schema(folder / f"{name}.parquet").remove_metadata() == pa.schema(columns)


def test_an_architecture_without_windows_gives_no_table_of_them(
    raw: Path, tmp_path: Path, members: dict[str, Forecaster], dataset: Dataset
) -> None:
    bundle = bundle_of(tmp_path / "bundle", members, {"tcn": 0.9, "transformer": 0.1}, dataset)
    assert [p.name for p in explained(bundle, raw, tmp_path / "ex").iterdir()] == ["minutes.parquet"]


def test_rows_are_written_as_predictions_come(
    bundle: Path, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not held until the end: so memory does not grow with the number of series."""
    whole = explained(bundle, raw, tmp_path / "whole")
    monkeypatch.setattr(hybridtune.models.bundle.row_groups, "ROWS_PER_GROUP", 2000)
    monkeypatch.setattr(hybridtune.models.bundle.row_groups, "TABLES_PER_GROUP", 10)
    parts = explained(bundle, raw, tmp_path / "parts")
    for name in ("minutes.parquet", "windows.parquet"):
        assert pq.ParquetFile(whole / name).num_row_groups == 1
        assert pq.ParquetFile(parts / name).num_row_groups > 5
        assert pq.read_table(whole / name).to_pylist() == pq.read_table(parts / name).to_pylist()


def test_the_page_is_drawn_from_the_first_anchors(bundle: Path, raw: Path, tmp_path: Path) -> None:
    drawn: list[Example] = []

    def draw(path: Path, member: AttentiveMember, horizons: tuple[int, ...], examples: list[Example]) -> None:
        path.write_text("page")
        assert (member.member, horizons) == ("hybrid", HORIZONS)
        drawn.extend(examples)

    predict_folder(bundle, raw, tmp_path / "out", At(MINUTES), AttentionFolder(tmp_path / "ex", draw))
    assert (tmp_path / "ex" / "index.html").read_text() == "page"
    anchors = [(prediction.series.file.name, int(prediction.series.minute_K[k])) for prediction, k in drawn]
    names = [file.name for file in find_series(raw).files]
    assert anchors == [(name, minute) for name in names for minute in MINUTES][:DRAWN_ANCHORS]
    for prediction, _ in drawn:
        price_T = read(prediction.series.file.path).price_T
        np.testing.assert_array_equal(prediction.series.price_T, price_T[: len(prediction.series.price_T)])


def broken_page(path: Path, member: AttentiveMember, horizons: tuple[int, ...], examples: list[Example]) -> None:
    raise InputError("no ink")


@pytest.mark.parametrize(
    ("requested", "weights", "draw", "message"),
    [
        (EVERY_MINUTE, {"hybrid": 1.0}, no_page, "explain needs --last or --minutes"),
        (Every(100), {"hybrid": 1.0}, no_page, "explain needs --last or --minutes"),
        (At((60, 240)), {"hybrid": 1.0}, no_page, r"minutes must lie within 59\.\.239, .*, got 240"),
        (
            Last(),
            {"basic": 0.5, "tcn": 0.5},
            no_page,
            "has attention to explain, got basic_lstm, tcn only",
        ),
        (Last(), {"hybrid": 1.0}, broken_page, "no ink"),
    ],
)
def test_what_cannot_be_explained_is_refused_and_leaves_nothing(
    raw: Path,
    tmp_path: Path,
    members: dict[str, Forecaster],
    dataset: Dataset,
    requested: Requested,
    weights: dict[str, float],
    draw: object,
    message: str,
) -> None:
    bundle = bundle_of(tmp_path / "bundle", members, weights, dataset)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        predict_folder(bundle, raw, tmp_path / "out", requested, AttentionFolder(tmp_path / "deep" / "ex", draw))
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_to_predict_leaves_no_explanation(bundle: Path, tmp_path: Path, write_series: WriteSeries) -> None:
    write_series(tmp_path / "mine" / "a.csv", np.ones(80), volume=np.ones(80))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        InputError, match=r"nothing to predict in .*a\.csv has no observed minute among those requested"
    ):
        predict_folder(
            bundle, tmp_path / "mine", tmp_path / "out", At((200,)), AttentionFolder(tmp_path / "ex", no_page)
        )
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_says_whose_attention_and_where(bundle: Path, raw: Path, tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    said = place.succeed(
        "predict", "bundle", str(raw), "--out", "new.parquet", "--minutes", "60,130", "--explain", "new"
    )
    where = "attention of member hybrid (hybrid_lstm, mean weight 0.30 in the ensemble): new/index.html"
    assert said.splitlines()[-1] == where
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["index.html", "minutes.parquet", "windows.parquet"]
    page = (tmp_path / "new" / "index.html").read_text()
    assert [page.count(f", minute {minute} <small>") for minute in (60, 130)] == [DRAWN_ANCHORS // 2] * 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_neither_predictions_nor_explanation(
    bundle: Path, raw: Path, tmp_path: Path, how: signal.Signals
) -> None:
    (tmp_path / "raw").mkdir()
    for number in range(100):
        for file in raw.rglob("*.parquet"):
            (tmp_path / "raw" / f"{file.stem}_{number}.parquet").hardlink_to(file)
    command = Workplace(tmp_path).start(
        *("predict", "bundle", "raw", "--out", "new.parquet", "--minutes", "60,130,239", "--explain", "new")
    )
    try:
        deadline = time.monotonic() + 60
        while not any(p.name.endswith(".partial") and any(p.iterdir()) for p in tmp_path.iterdir()):
            assert command.process.poll() is None, command.stderr
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(command.process.pid, how)
        assert command.wait(60) == 130
        assert command.stderr == "hybridtune: interrupted\n"
        assert not [p.name for p in tmp_path.iterdir() if "new" in p.name]
    finally:
        command.kill()
