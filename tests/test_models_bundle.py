"""The artifact: what goes in comes out, what was altered is refused, and it predicts by itself."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SCORE, WriteSeries, read
from safetensors.torch import load, save

from hybridtune.data.columns import Columns
from hybridtune.data.features import features, formulas_digest
from hybridtune.data.find import find_series
from hybridtune.data.schema import InputError
from hybridtune.data.store import Dataset
from hybridtune.models.architectures.basic_lstm import BasicLSTM
from hybridtune.models.architectures.forecaster import Forecaster
from hybridtune.models.architectures.hybrid_lstm import HybridLSTM
from hybridtune.models.architectures.registry import build_model, config_values, model_config
from hybridtune.models.architectures.scaler import train_bars
from hybridtune.models.bundle.bundle import Bundle, BundleDocument, MemberEntry, save_bundle
from hybridtune.models.bundle.calibration import Calibration, calibrated
from hybridtune.models.bundle.minutes import EVERY_MINUTE, At, Every, Last, Requested
from hybridtune.models.bundle.predict import predict_folder
from hybridtune.search.cluster.maps import process_map

HORIZONS, FIRST, LAST = (15, 60), 59, 239
"""Of the shared dataset: an anchor stands at minutes 59 to 239."""

WEIGHTS = ((0.25, 1.0), (0.75, 0.0))
CALIBRATION = (
    Calibration(kind="temperature", temperature=2.0),
    Calibration(kind="isotonic", thresholds=(0.2, 0.8), values=(0.4, 0.6)),
)


@pytest.fixture(scope="module")
def models(dataset: Dataset) -> list[Forecaster]:
    size = len(dataset.info.features)
    configs = (
        HybridLSTM.Config(
            input_size=size,
            horizons=len(HORIZONS),
            windows=(5, 30),
            hidden_size=8,
            attention_heads=2,
            attention_span=100,
        ),
        BasicLSTM.Config(input_size=size, horizons=len(HORIZONS), window=20, hidden_size=8),
    )
    built = [build_model(config, seed).eval() for seed, config in enumerate(configs)]
    for model in built:
        model.scaling.fit(train_bars(dataset))
    return built


def entry(number: int, model: Forecaster) -> MemberEntry:
    architecture, config = config_values(model.config)
    return MemberEntry(
        id=f"trial-{number}-seed-0",
        origin=f"trial {number}",
        file=f"member-{number}.safetensors",
        architecture=architecture,
        config=config,
        weights=WEIGHTS[number],
    )


@pytest.fixture
def bundle(tmp_path: Path, models: list[Forecaster], dataset: Dataset) -> Path:
    return saved(tmp_path / "bundle", models, dataset)


def saved(out: Path, models: list[Forecaster], dataset: Dataset, extras: tuple[str, ...] = ()) -> Path:
    entries = tuple(entry(number, model) for number, model in enumerate(models))
    document = BundleDocument(
        horizons=HORIZONS,
        features=dataset.info.features + extras,
        extras=extras,
        formulas=formulas_digest(),
        columns=Columns(),
        expanding_min=dataset.info.expanding_min,
        expanding_max=dataset.info.expanding_max,
        members=entries,
        best_single=entries[0].id,
        blending="convex",
        calibration=CALIBRATION,
        test=(SCORE,) * len(HORIZONS),
        provenance={"dataset": dataset.info.fingerprint, "hybridtune": "0"},
    )
    states = {e.id: model.state_dict() for e, model in zip(entries, models, strict=True)}
    save_bundle(out, document, states, entries[0], "# card\n")
    return out


def said(model: Forecaster, x_TF: np.ndarray, minute: int) -> np.ndarray:
    """The model's probabilities from the bars up to a minute, and nothing else."""
    x_MTF = torch.from_numpy(x_TF[None, : minute + 1].copy())
    with torch.no_grad():
        logits_MKH = model(x_MTF, torch.tensor([[minute]]))
    return np.asarray(logits_MKH.sigmoid()[0, 0])


def test_predictions_are_the_weighted_mean_of_what_the_models_say(
    bundle: Path, models: list[Forecaster], raw: Path
) -> None:
    files = find_series(raw).files[:6]
    predictions = list(Bundle.load(bundle).predict(files, Every(17)))
    assert [p.series.file for p in predictions] == files
    for prediction in predictions:
        assert prediction.series.minute_K.tolist() == list(range(FIRST, LAST + 1, 17))
        x_TF = features(read(prediction.series.file.path))
        for k, minute in enumerate(prediction.series.minute_K):
            p_NH = np.stack([said(model, x_TF, int(minute)) for model in models])
            expected_H = calibrated((p_NH * np.array(WEIGHTS)).sum(axis=0)[None], CALIBRATION)[0]
            np.testing.assert_allclose(prediction.p_KH[k], expected_H, atol=1e-6)
            weight_NH = np.array(WEIGHTS)
            apart_NH = p_NH - (weight_NH * p_NH).sum(axis=0)
            spread_H = np.sqrt((weight_NH * apart_NH**2).sum(axis=0))
            np.testing.assert_allclose(prediction.spread_KH[k], spread_H, atol=1e-6)
            # One member alone has a say in the second horizon, whatever the other thinks of it.
            assert prediction.spread_KH[k][1] == pytest.approx(0, abs=1e-6)


def test_the_bundles_document_comes_back_as_it_was_saved(bundle: Path, models: list[Forecaster]) -> None:
    document = Bundle.load(bundle).document
    assert document.horizons == HORIZONS
    assert document.members == tuple(entry(number, model) for number, model in enumerate(models))
    assert {p.name for p in bundle.iterdir()} == {
        *("bundle.json", "member-0.safetensors", "member-1.safetensors", "checkpoint.pt", "README.md", "SHA256SUMS")
    }


def test_the_checkpoint_rebuilds_the_best_single_member(bundle: Path, models: list[Forecaster]) -> None:
    checkpoint = torch.load(bundle / "checkpoint.pt", weights_only=True)
    assert set(checkpoint) == {"input_size", "config", "model_state_dict"}
    config = dict(checkpoint["config"])
    model = build_model(model_config(config.pop("architecture"), config), seed=9).eval()
    model.load_state_dict(checkpoint["model_state_dict"], strict=True)
    x_TF = np.random.default_rng(0).normal(size=(80, checkpoint["input_size"])).astype(np.float32)
    np.testing.assert_array_equal(said(model, x_TF, 79), said(models[0], x_TF, 79))


def test_an_existing_bundle_is_not_overwritten(
    bundle: Path, models: list[Forecaster], dataset: Dataset, tmp_path: Path
) -> None:
    before = {p: p.read_bytes() for p in bundle.iterdir()}
    with pytest.raises(InputError, match="exists already"):
        saved(bundle, models, dataset)
    assert {p: p.read_bytes() for p in bundle.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def flip(name: str) -> Callable[[Path], None]:
    def altered(bundle: Path) -> None:
        content = bytearray((bundle / name).read_bytes())
        content[len(content) // 2] ^= 1
        (bundle / name).write_bytes(content)

    return altered


def edit(**changes: object) -> Callable[[Path], None]:
    """An edited bundle.json with a checksum that fits."""

    def altered(bundle: Path) -> None:
        path = bundle / "bundle.json"
        content = json.loads(path.read_text())
        for key, value in changes.items():
            target = content["members"][0] if key in ("file", "weights", "config", "architecture") else content
            target[key] = value
        path.write_text(json.dumps(content))
        (bundle / "SHA256SUMS").write_text(sums(bundle))

    return altered


def sums(bundle: Path) -> str:
    done = subprocess.run(
        ["sha256sum", *sorted(p.name for p in bundle.iterdir() if p.is_file() and p.name != "SHA256SUMS")],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def remove(name: str) -> Callable[[Path], None]:
    return lambda bundle: (bundle / name).unlink()


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Other content with a checksum that fits."""

    def altered(bundle: Path) -> None:
        (bundle / name).write_bytes(change((bundle / name).read_bytes()))
        (bundle / "SHA256SUMS").write_text(sums(bundle))

    return altered


def without_a_number(content: bytes) -> bytes:
    """The last float32 of a safetensors file is NaN."""
    return content[:-4] + np.float32(np.nan).tobytes()


def in_half(content: bytes) -> bytes:
    return save({name: tensor.half() for name, tensor in load(content).items()})


def add_file(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("mine")


def add_folder(bundle: Path) -> None:
    (bundle / "__pycache__").mkdir()


def escape(bundle: Path) -> None:
    (bundle / "member-0.safetensors").rename(bundle.parent / "member-0.safetensors")
    edit(file="../member-0.safetensors")(bundle)


def test_whoever_may_read_other_files_may_read_the_bundle(bundle: Path, tmp_path: Path) -> None:
    """The weights alone were for their owner, and another user got a traceback."""
    (tmp_path / "usual").write_text("")
    usual = (tmp_path / "usual").stat().st_mode
    assert {path.name: oct(path.stat().st_mode) for path in bundle.iterdir()} == {
        path.name: oct(usual) for path in bundle.iterdir()
    }


def test_the_checksums_are_those_of_sha256sum(bundle: Path) -> None:
    assert (bundle / "SHA256SUMS").read_text().splitlines() == sums(bundle).splitlines()


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        *[
            (flip(name), "bundle")
            for name in (
                *("bundle.json", "member-0.safetensors", "member-1.safetensors", "checkpoint.pt", "README.md"),
                "SHA256SUMS",
            )
        ],
        (remove("member-1.safetensors"), r"lacks member-1\.safetensors"),
        (remove("SHA256SUMS"), "no readable SHA256SUMS"),
        (remove("bundle.json"), "does not exist"),
        (add_file, r"notes\.txt is not part of the bundle"),
        (add_folder, "__pycache__ is not part of the bundle"),
        (edit(version=6), "has format version 6, this program reads 7"),
        (edit(version=8, new="key"), "has format version 8, this program reads 7"),
        (edit(surprise=1), "surprise"),
        (escape, r"members\.0\.file: String should match pattern"),
        (edit(file="/etc/passwd"), r"members\.0\.file: String should match pattern"),
        (edit(weights=[1.0]), r"member trial-0-seed-0 has 1 weights for 2 horizons"),
        (edit(features=["price"]), "was made with other features"),
        (edit(formulas="0"), "was made with other formulas of its features"),
        (
            edit(expanding_max=800),
            "seed-0 sees 720 minutes at most, the bundle predicts up to 800: export it",
        ),
        (rewrite("member-1.safetensors", in_half), r"trial-1-seed-0 has weights in torch\.float16, not in float32"),
        (edit(architecture="oracle"), "architecture must be one of"),
        (edit(config={"input_size": 3, "horizons": 2}), "trial-0-seed-0 was made for input_size 3, the bundle has 24"),
        (edit(config={"layers": 1}), "member trial-0-seed-0 cannot be loaded"),
        (edit(members=[]), "members: "),
        (edit(weights=[0.25, 0.5]), r"shares that sum to 1 at each horizon, they sum to 1, 0\.5"),
        (edit(weights=[float("nan"), 1.0]), "shares that sum to 1 at each horizon, they sum to nan, 1"),
        (edit(weights=[-0.25, 1.0]), r"shares that sum to 1 at each horizon, they sum to 0\.5, 1"),
        (edit(calibration=[{"kind": "none"}]), "there are 1 calibrations and 2 scores for 2 horizons"),
        (edit(calibration=[{"kind": "temperature", "temperature": -1.0}] * 2), r"calibration\.0\.temperature: "),
        (rewrite("member-1.safetensors", without_a_number), "trial-1-seed-0 has weights that are not finite"),
        # A header of an exabyte.
        (
            rewrite("member-1.safetensors", lambda c: (2**60).to_bytes(8, "little") + c[8:]),
            "cannot be loaded: .*header",
        ),
        (rewrite("member-1.safetensors", lambda c: c[:-4]), "trial-1-seed-0 cannot be loaded"),
    ],
)
def test_what_is_not_what_was_exported_is_refused_in_one_line(
    bundle: Path, alter: Callable[[Path], None], message: str
) -> None:
    Bundle.load(bundle)
    alter(bundle)
    with pytest.raises(InputError, match=message) as caught:
        Bundle.load(bundle)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a bundle folder: `hybridtune export` makes one"):
        Bundle.load(tmp_path / "missing")
    with pytest.raises(InputError, match=r"bundle\.json does not exist"):
        Bundle.load(tmp_path)


WITHOUT = """
import sys
for name in ("ray", "optuna", "typer", "rich", "plotly", "jinja2", "tensorboardX", "yaml", "scipy", "sklearn"):
    sys.modules[name] = None
from pathlib import Path
from hybridtune.models.bundle.minutes import Every
from hybridtune.models.bundle.predict import predict_folder
summary = predict_folder(*map(Path, sys.argv[1:4]), Every(60))
print(summary.series, summary.rows)
"""


def test_a_bundle_predicts_on_a_machine_without_ray_and_optuna(bundle: Path, raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    arguments = [sys.executable, "-c", WITHOUT, str(bundle), str(raw), str(out)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    series = len(find_series(raw).files)
    assert done.stdout.split() == [str(series), str(series * 4 * len(HORIZONS))]
    here = tmp_path / "here.parquet"
    predict_folder(bundle, raw, here, Every(60))
    pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(here))


@pytest.fixture
def mine(tmp_path: Path, write_series: WriteSeries) -> Path:
    """Series of 59, 60, 240, and 300 minutes, one with a gap, and a file that cannot be read."""
    rng = np.random.default_rng(0)
    for minutes in (59, 60, 240, 300):
        price = np.exp(rng.normal(0, 0.01, minutes).cumsum())
        write_series(tmp_path / "mine" / f"s{minutes}.csv", price, volume=np.ones(minutes))
    # So many minutes do not help where most are missing.
    times = np.datetime64("2025-01-01T00:00", "us") + np.r_[:58, 90:91] * np.timedelta64(1, "m")
    write_series(tmp_path / "mine" / "gap.csv", np.ones(59), volume=np.ones(59), datetime=times)
    (tmp_path / "mine" / "torn.parquet").write_bytes(b"PAR1")
    return tmp_path / "mine"


def minutes_of(path: Path) -> dict[str, list[int]]:
    table = pd.read_parquet(path)
    return {str(name): part["minute"].drop_duplicates().tolist() for name, part in table.groupby("series")}


def test_every_minute_with_enough_history_is_predicted_and_the_rest_is_said(
    bundle: Path, mine: Path, tmp_path: Path
) -> None:
    summary = predict_folder(bundle, mine, tmp_path / "out.parquet")
    every = list(range(FIRST, LAST + 1))
    assert minutes_of(tmp_path / "out.parquet") == {"s60": [59], "s240": every, "s300": every}
    assert (summary.series, summary.rows) == (3, (1 + 2 * len(every)) * len(HORIZONS))
    gap, short, torn = sorted(summary.problems)
    assert "gap.csv has 59 bars in 91 minutes, a prediction needs 60" in gap
    assert "s59.csv has 59 bars in 59 minutes, a prediction needs 60" in short
    assert "torn.parquet cannot be read" in torn
    assert summary.goes_on == 1


@pytest.mark.parametrize(
    ("requested", "minutes"),
    [
        (EVERY_MINUTE, {"s60": [59], "s240": list(range(59, 240)), "s300": list(range(59, 240))}),
        (Every(100), {"s60": [59], "s240": [59, 159], "s300": [59, 159]}),
        (Last(), {"s60": [59], "s240": [239], "s300": [239]}),
        (At((239, 59, 120, 59)), {"s60": [59], "s240": [59, 120, 239], "s300": [59, 120, 239]}),
        (At((100,)), {"s240": [100], "s300": [100]}),
    ],
)
def test_only_the_minutes_asked_for_are_predicted(
    bundle: Path, mine: Path, tmp_path: Path, requested: Requested, minutes: dict[str, list[int]]
) -> None:
    predict_folder(bundle, mine, tmp_path / "out.parquet", requested)
    assert minutes_of(tmp_path / "out.parquet") == minutes


def test_a_series_without_a_bar_at_the_minutes_asked_for_is_said(bundle: Path, mine: Path, tmp_path: Path) -> None:
    summary = predict_folder(bundle, mine, tmp_path / "out.parquet", At((100,)))
    (problem,) = [p for p in summary.problems if "s60.csv" in p]
    assert "has no observed minute among those requested, its last is 59" in problem


@pytest.mark.parametrize("minute", [FIRST - 1, LAST + 1, -5])
def test_a_minute_at_which_nothing_is_predicted_is_refused_at_once(bundle: Path, minute: int) -> None:
    with pytest.raises(InputError, match=rf"minutes must lie within 59\.\.239, .*, got {minute}$"):
        Bundle.load(bundle).predict([], At((100, minute)))


def test_a_stride_below_a_minute_is_refused() -> None:
    with pytest.raises(InputError, match="stride must be at least 1 minute, got 0"):
        Every(0)


def test_a_prediction_does_not_depend_on_its_company(bundle: Path, mine: Path, tmp_path: Path) -> None:
    """Neither on the series beside it, nor on how many minutes are requested for."""
    predict_folder(bundle, mine, tmp_path / "all.parquet")
    predict_folder(bundle, mine, tmp_path / "last.parquet", Last())
    keys = ["series", "minute", "horizon"]
    joined = pd.read_parquet(tmp_path / "last.parquet").merge(pd.read_parquet(tmp_path / "all.parquet"), on=keys)
    assert len(joined) == 3 * len(HORIZONS)
    np.testing.assert_allclose(joined["probability_x"], joined["probability_y"], atol=1e-6)


def test_a_row_says_when_it_is_and_a_probability(bundle: Path, mine: Path, tmp_path: Path) -> None:
    predict_folder(bundle, mine, tmp_path / "out.parquet", Every(60))
    table = pd.read_parquet(tmp_path / "out.parquet")
    launch = np.datetime64("2025-01-01T00:00")
    assert (table["datetime"] == launch + pd.to_timedelta(table["minute"], unit="min")).all()
    assert set(table["horizon"]) == set(HORIZONS)
    assert table["probability"].between(0, 1, inclusive="neither").all()
    assert (table["spread"] >= 0).all()


def test_minutes_without_a_bar_are_not_predicted(bundle: Path, tmp_path: Path) -> None:
    times = np.datetime64("2025-01-01T00:00", "us") + np.delete(np.arange(80), 70) * np.timedelta64(1, "m")
    folder = tmp_path / "gap"
    folder.mkdir()
    pd.DataFrame({"datetime": times, "price": 1.0, "volume": 1.0}).to_csv(folder / "gap.csv", index=False)
    predict_folder(bundle, folder, tmp_path / "out.parquet")
    assert minutes_of(tmp_path / "out.parquet") == {"gap": [m for m in range(59, 80) if m != 70]}


def test_a_series_without_a_column_that_the_models_need_is_a_problem_of_that_series(
    dataset: Dataset, tmp_path: Path, write_series: WriteSeries
) -> None:
    size = len(dataset.info.features) + 1
    wide = [
        build_model(BasicLSTM.Config(input_size=size, horizons=2, window=5, hidden_size=8), seed) for seed in range(2)
    ]
    bundle = saved(tmp_path / "bundle", wide, dataset, extras=("holders",))
    folder = tmp_path / "mine"
    write_series(folder / "with.csv", np.ones(80), volume=np.ones(80), holders=np.arange(80), unknown=np.ones(80))
    write_series(folder / "without.csv", np.ones(80), volume=np.ones(80))
    summary = predict_folder(bundle, folder, tmp_path / "out.parquet", Last())
    assert summary.series == 1
    (problem,) = summary.problems
    assert "without.csv has no column 'holders'" in problem


def test_many_series_are_spread_over_processes_in_their_order(
    bundle: Path, tmp_path: Path, write_series: WriteSeries
) -> None:
    rng = np.random.default_rng(0)
    for number in range(70):
        price = np.exp(rng.normal(0, 0.01, 30 + number).cumsum())
        write_series(tmp_path / "mine" / f"s{number:02}.csv", price, volume=np.ones(len(price)))
    here, spread = tmp_path / "here.parquet", tmp_path / "spread.parquet"
    alone = predict_folder(bundle, tmp_path / "mine", here, Every(20))
    with process_map(2) as parallel_map:
        summary = predict_folder(bundle, tmp_path / "mine", spread, Every(20), parallel_map=parallel_map)
    assert summary == alone
    assert len(summary.problems) == 30
    pd.testing.assert_frame_equal(pd.read_parquet(spread), pd.read_parquet(here))


def test_nothing_to_predict_is_an_error_that_leaves_no_file(
    bundle: Path, tmp_path: Path, write_series: WriteSeries
) -> None:
    write_series(tmp_path / "mine" / "short.csv", np.ones(10), volume=np.ones(10))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"nothing to predict in .*short\.csv has 10 bars in 10 minutes"):
        predict_folder(bundle, tmp_path / "mine", tmp_path / "out.parquet")
    assert sorted(tmp_path.rglob("*")) == before
