"""The generated launches, and their oracle as the best forecast: exact, calibrated, blind to the future."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybridtune.data.launch_process import DEAD, Floats, LaunchProcess, filter_states, probability_up, sample
from hybridtune.data.schema import DEFAULT_HORIZONS, InputError
from hybridtune.data.synth import CATEGORIES, SynthConfig, generate

TOKENS = 400
SMALL = SynthConfig(tokens=3, minutes=80, horizons=(5, 15))


@pytest.fixture(scope="module")
def launches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "set"
    generate(SynthConfig(tokens=TOKENS), out)
    return out


@pytest.fixture(scope="module")
def forecasts(launches: Path) -> dict[int, tuple[Floats, npt.NDArray[np.bool_]]]:
    """For each horizon the oracle's probability and whether the price on disk rose, (M, K)."""
    paths = launch_files(launches)
    log_price = np.log([pq.read_table(paths[name])["price"].to_numpy() for name in sorted(paths)])
    oracle = pq.read_table(launches / "oracle.parquet")
    anchors = oracle["minute"].to_numpy().reshape(TOKENS, -1)[0][::15]
    assert oracle["series"].unique().to_pylist() == sorted(paths)
    return {
        horizon: (
            oracle[f"p_{horizon}"].to_numpy().astype(float).reshape(TOKENS, -1)[:, ::15],
            log_price[:, anchors + horizon] > log_price[:, anchors],
        )
        for horizon in DEFAULT_HORIZONS
    }


def launch_files(out: Path) -> dict[str, Path]:
    return {path.stem: path for path in (out / "launches").glob("*/*.parquet")}


def same_values(one: Path, other: Path) -> bool:
    return bool(pq.read_table(one).equals(pq.read_table(other)))


def auc(probability: Floats, rose: npt.NDArray[np.bool_]) -> float:
    _, group, size = np.unique(probability, return_inverse=True, return_counts=True)
    rank = (np.cumsum(size) - (size - 1) / 2)[group]
    ups = int(rose.sum())
    return float((rank[rose].sum() - ups * (ups + 1) / 2) / (ups * (rose.size - ups)))


def seeds(count: int) -> list[np.random.SeedSequence]:
    return np.random.SeedSequence(5).spawn(count)


def test_a_launch_is_a_minute_series_of_positive_prices_and_volumes_in_its_category(launches: Path) -> None:
    paths = launch_files(launches)
    assert len(paths) == TOKENS
    assert {path.parent.name for path in paths.values()} == set(CATEGORIES.values())
    for name in ("token_00000", "token_00399"):
        table = pq.read_table(paths[name])
        assert table.schema == pa.schema(
            [("datetime", pa.timestamp("us")), ("price", pa.float64()), ("volume", pa.float64())]
        )
        time = table["datetime"].to_numpy()
        assert time.astype("datetime64[m]")[0] == time[0]
        assert (np.diff(time) == np.timedelta64(1, "m")).all()
        assert len(time) == 1440
        assert table["price"].to_numpy().min() > 0
        assert table["volume"].to_numpy().min() > 0


def test_launches_are_spread_at_the_mean_spacing(launches: Path) -> None:
    paths = launch_files(launches)
    starts = np.sort([pq.read_table(path)["datetime"][0].as_py() for path in paths.values()])
    mean_gap = (starts[-1] - starts[0]).total_seconds() / 60 / (TOKENS - 1)
    wanted = SynthConfig().spacing_minutes
    assert abs(mean_gap - wanted) < 4 * wanted / math.sqrt(TOKENS)


def test_some_launches_die_and_some_run_away(launches: Path) -> None:
    share = {name: len(list((launches / "launches" / name).iterdir())) / TOKENS for name in CATEGORIES.values()}
    assert 0.08 < share["dead_tokens"] < 0.25
    assert 0.08 < share["tokens_with_extremes"] < 0.25


def test_oracle_has_a_row_for_each_token_and_anchor(launches: Path) -> None:
    oracle = pq.read_table(launches / "oracle.parquet")
    probabilities = [(f"p_{horizon}", pa.float32()) for horizon in DEFAULT_HORIZONS]
    assert oracle.schema == pa.schema([("series", pa.string()), ("minute", pa.int32()), *probabilities])
    minutes = oracle["minute"].to_numpy().reshape(TOKENS, -1)
    assert (minutes == np.arange(59, 720)).all()


def test_same_seed_gives_the_same_values_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        generate(SynthConfig(tokens=3, minutes=80, horizons=(5, 15), seed=seed), tmp_path / name)
    one, again, other = (launch_files(tmp_path / name) for name in ("one", "again", "other"))
    assert same_values(tmp_path / "one/oracle.parquet", tmp_path / "again/oracle.parquet")
    for name in one:
        assert one[name].relative_to(tmp_path / "one") == again[name].relative_to(tmp_path / "again")
        assert same_values(one[name], again[name])
        assert not same_values(one[name], other[name])


def test_a_token_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    generate(SMALL, tmp_path / "few")
    generate(SynthConfig(tokens=7, minutes=80, horizons=(5, 15)), tmp_path / "more")
    few, more = launch_files(tmp_path / "few"), launch_files(tmp_path / "more")
    assert len(few) == 3
    assert all(same_values(few[name], more[name]) for name in few)


def test_filter_equals_a_sum_over_all_state_paths() -> None:
    process = LaunchProcess(
        fast_dwell_minutes=3,
        slow_dwell_minutes=5,
        death_rate=0.1,
        runaway_rate=0.2,
        volume_levels=(7.0, 8.5),
        kind_coupling=0.8,
    )
    states = len(process.drift)
    minutes = 4
    drawn = sample(process, minutes, seeds(2))
    path = np.indices((states,) * minutes).reshape(minutes, -1)
    prior = process.start[path[0]]
    for t in range(1, minutes):
        prior = prior * process.transition[path[t - 1], path[t]]
    for token in range(2):
        log_return, log_volume = drawn.log_return[token], drawn.log_volume[token]
        weight = np.zeros(path.shape[1])
        for level in process.volume_levels:
            likelihood = prior.copy()
            for t in range(minutes):
                surprise = np.zeros(path.shape[1])
                if t > 0:
                    surprise = (log_return[t] - process.drift[path[t]]) / process.sigma[path[t]]
                    likelihood *= np.exp(-0.5 * surprise**2) / process.sigma[path[t]]
                expected = level + process.volume_shift[path[t]] + process.coupling[path[t]] * surprise
                likelihood *= np.exp(-0.5 * ((log_volume[t] - expected) / process.volume_sigma) ** 2)
            weight += likelihood
        expected = np.bincount(path[-1], weight, minlength=states) / weight.sum()
        filtered = filter_states(process, log_return[None], log_volume[None])
        np.testing.assert_allclose(filtered[0, -1], expected, rtol=1e-9, atol=1e-15)


def test_filter_survives_bars_that_no_state_explains() -> None:
    log_return = np.array([[0.0, 50.0, -50.0, 0.0]])
    log_volume = np.array([[-500.0, 500.0, 0.0, 9.0]])
    posterior = filter_states(LaunchProcess(), log_return, log_volume)
    np.testing.assert_allclose(posterior.sum(axis=2), 1.0)


@pytest.mark.slow
def test_probability_up_of_a_dead_token_is_the_normal_distribution_function() -> None:
    process = LaunchProcess()
    up = probability_up(process, DEFAULT_HORIZONS)
    for row, horizon in enumerate(DEFAULT_HORIZONS):
        z = process.dead_drift * math.sqrt(horizon) / process.dead_sigma
        np.testing.assert_allclose(up[row, DEAD::3], 0.5 * math.erfc(-z / math.sqrt(2)), atol=1e-7)


@pytest.mark.parametrize("state", [0, 2, 3, 7, 12, 20, 23])
def test_probability_up_equals_monte_carlo(state: int) -> None:
    # Faster lives than the default's, so that every kind of switch weighs within the horizons.
    process = LaunchProcess(slow_dwell_minutes=60, death_rate=0.005, runaway_rate=0.005)
    horizons, paths = (60, 1, 15), 20_000
    up = probability_up(process, horizons)
    generator = np.random.default_rng(state)
    cumulative = np.cumsum(process.transition, axis=1)
    cumulative[:, -1] = 1.0
    now, total = np.full(paths, state), np.zeros(paths)
    for minute in range(1, max(horizons) + 1):
        now = (cumulative[now] <= generator.random((paths, 1))).sum(axis=1)
        total += generator.normal(process.drift[now], process.sigma[now])
        if minute in horizons:
            exact = up[horizons.index(minute), state]
            assert abs((total > 0).mean() - exact) < 4 * math.sqrt(exact * (1 - exact) / paths)


def test_oracle_follows_from_the_bars_on_disk(launches: Path) -> None:
    table = pq.read_table(launch_files(launches)["token_00200"])
    log_return = np.diff(np.log(table["price"].to_numpy()), prepend=np.nan)
    states = filter_states(LaunchProcess(), log_return[None], np.log(table["volume"].to_numpy())[None])
    expected = states[0, 59:720] @ probability_up(LaunchProcess(), DEFAULT_HORIZONS).T
    oracle = pq.read_table(launches / "oracle.parquet", filters=[("series", "=", "token_00200")])
    written = np.stack([oracle[f"p_{horizon}"].to_numpy() for horizon in DEFAULT_HORIZONS], axis=1)
    np.testing.assert_allclose(written, expected, atol=1e-6)


def test_later_bars_change_nothing() -> None:
    process = LaunchProcess()
    drawn = sample(process, 200, seeds(4))
    whole = filter_states(process, drawn.log_return, drawn.log_volume)
    cut = filter_states(process, drawn.log_return[:, :90], drawn.log_volume[:, :90])
    np.testing.assert_array_equal(cut, whole[:, :90])


@pytest.mark.parametrize("horizon", DEFAULT_HORIZONS)
def test_oracle_ranks_well_but_not_trivially(
    forecasts: dict[int, tuple[Floats, npt.NDArray[np.bool_]]], horizon: int
) -> None:
    probability, rose = forecasts[horizon]
    assert 0.60 < auc(probability, rose) < 0.80
    assert 0.35 < rose.mean() < 0.60


@pytest.mark.parametrize("horizon", DEFAULT_HORIZONS)
def test_oracle_is_calibrated_in_each_decile(
    forecasts: dict[int, tuple[Floats, npt.NDArray[np.bool_]]], horizon: int
) -> None:
    probability, rose = forecasts[horizon]
    decile = np.searchsorted(np.quantile(probability, np.arange(0.1, 1, 0.1)), probability)
    for each in range(10):
        inside = decile == each
        # Anchors of one token share their future, so the token is the unit that noise is counted in.
        surplus = np.where(inside, rose - probability, 0).sum(axis=1)
        noise = math.sqrt((surplus**2).sum())
        assert abs(surplus.sum()) < 4 * noise + 0.01 * inside.sum()


def test_an_hour_of_bars_is_worse_than_the_whole_past(
    forecasts: dict[int, tuple[Floats, npt.NDArray[np.bool_]]], launches: Path
) -> None:
    process = LaunchProcess()
    paths = launch_files(launches)
    tables = [pq.read_table(paths[name]) for name in sorted(paths)]
    log_return = np.diff(np.log([table["price"].to_numpy() for table in tables]), prepend=np.nan)
    log_volume = np.log([table["volume"].to_numpy() for table in tables])
    windows = [slice(t - 59, t + 1) for t in range(59, 720, 15)]
    states = [filter_states(process, log_return[:, w], log_volume[:, w])[:, -1] for w in windows]
    for row, horizon in enumerate((30, 60)):
        hour = np.stack(states, axis=1) @ probability_up(process, (30, 60))[row]
        probability, rose = forecasts[horizon]
        assert auc(hour, rose) < auc(probability, rose) - 0.01


def test_progress_counts_the_tokens_done(tmp_path: Path) -> None:
    seen: list[int] = []
    generate(SMALL, tmp_path / "set", seen.append)
    assert seen == [1, 2, 3]


def test_an_existing_folder_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "precious").write_text("data")
    with pytest.raises(InputError, match="set exists already"):
        generate(SMALL, tmp_path / "set")
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "precious"]


def test_nothing_is_left_behind_when_interrupted(tmp_path: Path) -> None:
    def interrupt(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(SMALL, tmp_path / "set", interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, r"tokens must be at least 1, got 0"),
        ({"seed": -3}, r"seed must be at least 0, got -3"),
        ({"spacing_minutes": 0.0}, r"spacing_minutes must be positive and finite, got 0\.0"),
        ({"spacing_minutes": math.nan}, r"spacing_minutes must be positive and finite, got nan"),
        ({"minutes": 74}, r"expanding_min \+ the shortest horizon = 75, got 74"),
        ({"horizons": (15, -30)}, r"horizons must be .* got \(15, -30\)"),
        ({"horizons": (15, 15)}, r"horizons must be .* got \(15, 15\)"),
        ({"horizons": ()}, r"horizons must be .* got \(\)"),
        ({"expanding_min": 0}, r"expanding_min=0"),
        ({"expanding_min": 90, "expanding_max": 80}, r"expanding_min=90, expanding_max=80"),
    ],
)
def test_bad_settings_are_refused_with_the_value(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SynthConfig(**settings)  # type: ignore[arg-type]


def test_the_fewest_minutes_allowed_give_an_anchor(tmp_path: Path) -> None:
    generate(SynthConfig(tokens=2, minutes=75), tmp_path / "set")
    assert pq.read_table(tmp_path / "set/oracle.parquet")["minute"].to_pylist() == [*range(59, 75)] * 2
