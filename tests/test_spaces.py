"""Shipped spaces hold the reference configuration; a file changes one, or is refused with its line."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridtune.data.schema import InputError
from hybridtune.models.architectures.hybrid_lstm import HybridLSTM
from hybridtune.models.architectures.registry import ARCHITECTURES, build_model
from hybridtune.models.training.config import Budget, TrainConfig
from hybridtune.spaces.check import check_space
from hybridtune.spaces.load import SHIPPED, load_space
from hybridtune.spaces.parameters import Choice, Config, Float, Int, Space
from hybridtune.spaces.trial_config import Shape, parse_class_weights, parse_windows, trial_config


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_space_holds_possible_configurations_only(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert set(space.reference) == set(space.dimensions)
    check_space(space, {}, Shape())
    model = trial_config(space.default(), Shape(), Budget()).model
    assert sum(p.numel() for p in build_model(model, 0).parameters()) > 1000


def test_the_default_is_the_guides() -> None:
    reference: Config = {
        "architecture": "hybrid_lstm",
        "windows": "15/60/240",
        "window_runs": "shared",
        "hidden_size": 128,
        "attention_heads": 8,
        "layers": 1,
        "dropout": 0.3,
        "scaling": "standard",
        "attention_span": 720,
        "positions": "none",
        "horizon_heads": "hierarchical",
        "learning_rate": 5e-4,
        "weight_decay": 1e-2,
        "batch_size": 64,
        "anchors_per_series": 16,
        "class_weights": "none",
        "loss": "cross_entropy",
        "schedule": "cosine",
    }
    assert load_space("hybrid").default() == load_space("all").default() == reference
    assert load_space("basic").default() == {
        name: reference[name]
        for name in reference.keys() - {"windows", "attention_heads", "attention_span", "positions"}
    } | {"architecture": "basic_lstm", "window": 60, "horizon_heads": "independent"}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_ranges_are_the_guides(name: str) -> None:
    dimensions = load_space(name).dimensions
    assert dimensions["learning_rate"] == Float(low=1e-4, high=1e-3, log=True)
    assert dimensions["dropout"] == Float(low=0.2, high=0.5)


def test_heads_divide_the_hidden_size_in_every_combination() -> None:
    dimensions = load_space("hybrid").dimensions
    sizes, heads = dimensions["hidden_size"], dimensions["attention_heads"]
    assert isinstance(sizes, Int)
    assert isinstance(heads, Choice)
    assert len(sizes.values) == 15
    assert all(size % (2 * int(count)) == 0 for size in sizes.values for count in heads.values)


def test_a_sampled_dict_becomes_a_typed_configuration() -> None:
    params = load_space("hybrid").default() | {"windows": "5/30", "batch_size": 32, "learning_rate": 2e-4}
    config = trial_config(params, Shape(24, 7), Budget(9, 100, 3, "tune_auc"))
    assert config.model == HybridLSTM.Config(input_size=24, horizons=7, windows=(5, 30))
    assert config.train == TrainConfig(
        learning_rate=2e-4, batch_size=32, iterations=9, samples_per_iteration=100, patience=3, metric="tune_auc"
    )


@pytest.mark.parametrize(("text", "windows"), [("15/60/240", (15, 60, 240)), ("60", (60,)), (60, (60,))])
def test_windows_are_read_from_text(text: str | int, windows: tuple[int, ...]) -> None:
    assert parse_windows(text) == windows


@pytest.mark.parametrize("text", ["", "15/", "a/b", "15,60", True])
def test_windows_that_are_no_minutes_are_refused(text: str | bool) -> None:
    with pytest.raises(InputError, match=r"windows must be minutes like 15/60/240, got"):
        parse_windows(text)


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("dropout: 0.25", Choice(choices=(0.25,))),
        ("dropout: 0", Choice(choices=(0.0,))),
        ("dropout: {low: 0.25, high: 0.3}", Float(low=0.25, high=0.3)),
        ("dropout: {choices: [0.2, 0.4]}", Choice(choices=(0.2, 0.4))),
        ("learning_rate: {low: 1e-5, high: 1e-2, log: true}", Float(low=1e-5, high=1e-2, log=True)),
        ("learning_rate: 1e-4", Choice(choices=(1e-4,))),
        ("hidden_size: {low: 64, high: 512, step: 64}", Int(low=64, high=512, step=64)),
        ("hidden_size: 64.0", Choice(choices=(64,))),
        ("attention_span: {low: 30, high: 90, step: 30}", Int(low=30, high=90, step=30)),
        ("windows: 30/90", Choice(choices=("30/90",))),
        ("windows: {choices: [60, 30/90]}", Choice(choices=("60", "30/90"))),
    ],
)
def test_a_file_narrows_fixes_or_widens_a_dimension(tmp_path: Path, text: str, dimension: Choice | Float | Int) -> None:
    space, base = load_space(write(tmp_path, f"dimensions:\n  {text}\n")), SHIPPED["hybrid"]
    name = text.split(":")[0]
    assert space.name == "mine"
    assert space.dimensions[name] == dimension
    assert {n: d for n, d in space.dimensions.items() if n != name} == {
        n: d for n, d in base.dimensions.items() if n != name
    }
    assert list(space.dimensions) == list(base.dimensions)
    if isinstance(dimension, Choice | Int):
        assert [type(value) for value in dimension.values] == [type(v) for v in space.dimensions[name].values]  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["", "version: 1\n", "base: hybrid\ndimensions: {}\n"])
def test_a_file_that_changes_nothing_is_its_base(tmp_path: Path, text: str) -> None:
    space = load_space(write(tmp_path, text))
    assert (space.dimensions, space.reference) == (SHIPPED["hybrid"].dimensions, SHIPPED["hybrid"].reference)


def test_a_file_may_build_on_another_shipped_space(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, "base: basic\ndimensions:\n  window: 30\n"))
    assert space.dimensions["window"] == Choice(choices=(30,))
    assert "attention_heads" not in space.dimensions


def test_the_default_moves_to_the_nearest_value_where_the_space_leaves_it_out(tmp_path: Path) -> None:
    text = """
dimensions:
  hidden_size: {low: 32, high: 80, step: 16}
  dropout: {low: 0.4, high: 0.5}
  batch_size: {choices: [16, 48]}
  windows: {choices: [5/10, 10/20]}
"""
    default = load_space(write(tmp_path, text)).default()
    changed = {"hidden_size": 80, "dropout": 0.4, "batch_size": 48, "windows": "5/10"}
    assert default == SHIPPED["hybrid"].reference | changed


def test_the_size_of_a_space_counts_its_configurations(tmp_path: Path) -> None:
    space = Space("s", {"a": Choice(choices=(1, 2, 3)), "b": Int(low=1, high=9, step=2), "c": Float(low=1, high=1)}, {})
    assert space.size() == 15
    assert load_space("hybrid").size() == math.inf


CONDITIONAL = Space(
    "c",
    {
        "kind": Choice(choices=("a", "b", "c")),
        "size": Int(low=1, high=3, when={"kind": ("a", "b")}),
        "shape": Choice(choices=("x", "y"), when={"kind": ("a",)}),
        "width": Float(low=0.0, high=1.0, when={"shape": ("y",)}),
    },
    {"kind": "b", "size": 2, "shape": "x", "width": 0.5},
)


def test_a_conditional_dimension_exists_only_where_its_condition_holds() -> None:
    assert CONDITIONAL.conditional
    assert CONDITIONAL.default() == {"kind": "b", "size": 2}
    assert CONDITIONAL.active("width", {"kind": "a", "shape": "y"})
    assert not CONDITIONAL.active("width", {"kind": "b"})
    assert CONDITIONAL.size() == math.inf
    point = CONDITIONAL.with_dimensions({"width": Float(low=1, high=1, when={"shape": ("y",)})})
    assert point.size() == 3 * 2 + 3 + 1


def test_fixing_what_a_condition_names_drops_the_condition_or_the_dimension() -> None:
    fixed = CONDITIONAL.with_dimensions({"kind": Choice(choices=("b",))})
    assert fixed.dimensions == {"kind": Choice(choices=("b",)), "size": Int(low=1, high=3)}
    assert not fixed.conditional
    narrowed = CONDITIONAL.with_dimensions({"kind": Choice(choices=("a", "c"))})
    assert narrowed.dimensions["size"].when == {"kind": ("a",)}


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ({"size": Int(low=1, high=2, when={"kind": ("a",)})}, "size depends on 'kind': .*stand before it"),
        (
            {"n": Float(low=1, high=2), "m": Int(low=1, high=2, when={"n": (1,)})},
            "m depends on 'n': .*choices or whole",
        ),
        (
            {"n": Int(low=2, high=8, step=2), "m": Int(low=1, high=2, when={"n": (2, 3)})},
            "m depends on n=3: n is one of 2 to 8 in steps of 2",
        ),
        (
            {"kind": Choice(choices=("a",)), "m": Int(low=1, high=2, when={"kind": ("b",)})},
            "m depends on kind='b': kind is one of a",
        ),
    ],
)
def test_a_condition_that_can_never_be_asked_is_refused(dimensions: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Space("s", dimensions, {})


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(SHIPPED)), history=st.sampled_from([60, 61, 240, 720]), data=st.data())
def test_whatever_is_sampled_from_a_shipped_space_makes_a_model(name: str, history: int, data: st.DataObject) -> None:
    space = load_space(name, Shape(history=history))
    params: Config = {}
    for key, dimension in space.dimensions.items():
        if space.active(key, params):
            drawn = st.floats(dimension.low, dimension.high) if isinstance(dimension, Float) else None
            params[key] = data.draw(drawn if drawn is not None else st.sampled_from(list(dimension.values)))
    config = trial_config(params, Shape(history=history), Budget())
    assert type(config.model) is ARCHITECTURES[str(params["architecture"])].Config
    assert set(params) - {"architecture"} <= {f.name for c in (config.model, config.train) for f in fields(c)}


def test_windows_that_no_series_can_fill_are_left_out_of_a_shipped_space() -> None:
    windows = load_space("hybrid", Shape(history=240)).dimensions["windows"]
    assert isinstance(windows, Choice)
    assert windows.choices == ("15/60/240", "5/15/60", "15/60", "60/240", "15/30/60/120")
    assert load_space("hybrid", Shape(history=100)).default()["windows"] == "5/15/60"
    with pytest.raises(InputError, match=r"no windows of .* hybrid fits the history of 30 minutes: give shorter"):
        load_space("hybrid", Shape(history=30))


def test_a_window_that_a_file_asks_for_and_no_series_can_fill_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "dimensions:\n  windows: {choices: [15/60, 15/240]}\n")
    assert load_space(path, Shape(history=240)).size() == math.inf
    with pytest.raises(InputError, match=r":2: .*windows must be at most the history of 239 minutes, got 240: shorten"):
        load_space(path, Shape(history=239))


def test_a_file_over_all_architectures_keeps_what_can_exist(tmp_path: Path) -> None:
    text = """
base: all
dimensions:
  architecture: {choices: [hybrid_lstm, tcn]}
  windows: {choices: [15/60, "15"]}
  levels: {choices: [4, 5], when: {architecture: tcn}}
"""
    space = load_space(write(tmp_path, text))
    assert {"window", "blocks"}.isdisjoint(space.dimensions)
    assert space.dimensions["windows"].when == {"architecture": ("hybrid_lstm",)}
    assert space.dimensions["levels"] == Choice(choices=(4, 5), when={"architecture": ("tcn",)})
    only = load_space(write(tmp_path, "base: all\ndimensions:\n  architecture: tcn\n"))
    assert not only.conditional
    assert set(only.dimensions) == set(SHIPPED["tcn"].dimensions)


def test_a_file_may_make_a_dimension_depend_on_another(tmp_path: Path) -> None:
    text = "dimensions:\n  attention_span: {choices: [60, 240], when: {attention_heads: [4, 8]}}\n"
    space = load_space(write(tmp_path, text))
    assert space.dimensions["attention_span"].when == {"attention_heads": (4, 8)}


@pytest.mark.parametrize(("text", "weights"), [("none", "none"), ("auto", "auto"), ("1/2.5", (1.0, 2.5))])
def test_class_weights_are_words_or_one_for_each_horizon(text: str, weights: object) -> None:
    assert parse_class_weights(text, 2) == weights


@pytest.mark.parametrize("text", ["1/2/3", "1", "balanced", ""])
def test_class_weights_of_another_form_or_number_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"class_weights must be .* got"):
        parse_class_weights(text, 2)


def test_a_condition_on_whole_numbers_counts_the_values_it_names_and_the_rest_together() -> None:
    space = Space(
        "s",
        {
            "depth": Int(low=1, high=10**12),
            "wide": Choice(choices=("x", "y", "z"), when={"depth": (1, 10**12)}),
            "high": Choice(choices=("x", "y"), when={"depth": (1,)}),
        },
        {"depth": 3, "wide": "x", "high": "y"},
    )
    assert space.size() == 3 * 2 + 3 + (10**12 - 2)
    assert space.default() == {"depth": 3}
    fixed = space.with_dimensions({"depth": Int(low=1, high=1)})
    assert fixed.dimensions["high"] == Choice(choices=("x", "y"))
    assert set(space.with_dimensions({"depth": Int(low=2, high=9)}).dimensions) == {"depth"}


def test_a_file_may_make_a_dimension_depend_on_a_range(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, "dimensions:\n  attention_span: {choices: [60, 240], when: {layers: 2}}\n"))
    assert space.dimensions["attention_span"].when == {"layers": (2,)}


def test_heads_are_held_against_the_sizes_and_positions_that_they_can_meet_only(tmp_path: Path) -> None:
    text = """
base: transformer
dimensions:
  hidden_size: 36
  attention_heads: {choices: [2, 4]}
  positions: {choices: [rotary], when: {attention_heads: 2}}
"""
    assert load_space(write(tmp_path, text)).conditional
    tcn = "base: all\ndimensions:\n  architecture: {choices: [tcn, basic_lstm]}\n  hidden_size: 33\n"
    assert load_space(write(tmp_path, tcn)).conditional


@pytest.mark.parametrize(
    "dimensions",
    [
        "attention_span: {low: 1, high: 2000000000}",
        "hidden_size: {low: 32, high: 2000000000, step: 16}",
        "layers: {low: 1, high: 2000000000}",
    ],
)
def test_a_large_range_is_checked_at_once(tmp_path: Path, dimensions: str) -> None:
    assert load_space(write(tmp_path, f"dimensions:\n  {dimensions}\n")).size() == math.inf


BOMB = "\n".join(
    ["- &a0 [x, x, x, x, x, x, x, x, x]", *(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))]
)
"""Nine nines of nines ... of x: written out it would fill the memory."""
LISTED = r"; a dimension is one value, \{choices: \[\.\.\]\} or \{low: \.\., high: \.\., log: \.\. or step: \.\.\}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trials: 5\n", r":1: trials: Extra inputs .* got 5; known keys: version, base, dimensions"),
        ("base: hybrid\nbase2: 1\n", r":2: base2: Extra inputs"),
        ("version: 2\n", r":1: version: Input should be 1, got 2"),
        ("base: lstm\n", r":1: base must be one of hybrid, basic, transformer, tcn, all, got 'lstm'"),
        ("dimensions:\n  layers: 1\n  dropout: 0.2\n  layers: 2\n", r":4: 'layers' is there twice: keep one of them"),
        ("base: hybrid\nbase: basic\n", r":2: 'base' is there twice"),
        ("dimensions:\n  layers: true\n", r":2: layers must be a number, got true or false"),
        ("dimensions:\n  layers: {choices: [1, true]}\n", r":2: layers: choices: .*there once, got (1|True) more"),
        ("dimensions:\n  hidden_size: {low: true, high: 64}\n", r":2: hidden_size must be a number, got true or false"),
        ("dimensions:\n  batch_size: {choices: [32, 64, 32]}\n", r":2: batch_size: choices: .*there once, got 32 more"),
        ("dimensions: 5\n", r":1: dimensions: Input should be a valid dictionary, got 5"),
        ("dimensions:\n  heads: 4\n", r":2: hybrid has no dimension 'heads': it has architecture, windows"),
        ("base: basic\ndimensions:\n  windows: 60\n", r":3: basic has no dimension 'windows'"),
        (
            "dimensions:\n\n  dropout: {low: 0.5, high: 0.2}\n",
            r":3: dropout: low <= high .*\(low=0\.5, high=0\.2\)" + LISTED,
        ),
        (
            "dimensions:\n  learning_rate: {low: 0, high: 1, log: true}\n",
            r":2: learning_rate: a log range needs low > 0, got low=0\.0",
        ),
        ("dimensions:\n  learning_rate: {low: 0.1}\n", r":2: learning_rate: high: Field required"),
        ("dimensions:\n  dropout: {low: .nan, high: 1}\n", r":2: dropout: low: .*finite number, got nan"),
        ("dimensions:\n  dropout: {low: 0.1, high: 0.2, step: 1}\n", r":2: dropout: step: Extra inputs"),
        ("dimensions:\n  hidden_size: {low: 32, high: 64, step: 0}\n", r":2: hidden_size: step: .*got 0"),
        ("dimensions:\n  hidden_size: {choices: []}\n", r":2: hidden_size: choices: .*at least 1 item.*got \[\]"),
        ("dimensions:\n  dropout: high\n", r":2: dropout: .*valid number.* got 'high'" + LISTED),
        ("dimensions:\n  dropout: {low: a, high: 1}\n", r":2: dropout: low: .*valid number.* got 'a'"),
        ("dimensions:\n  batch_size: {choices: [32, many]}\n", r":2: batch_size: .*valid integer.* got 'many'"),
        ("dimensions:\n  layers: 1.5\n", r":2: layers: .*valid integer.* got 1\.5"),
        ("dimensions:\n  dropout:\n", r":2: dropout: .* got None"),
        ("dimensions:\n  windows: {low: 5, high: 60}\n", r":2: windows: choices: Field required"),
        ("dimensions:\n  layers: 1\n  hidden_size: 30\n", r":3: .*even, got \(hidden_size=30, attention_heads=2\)"),
        ("dimensions:\n  attention_heads: {choices: [8, 3]}\n", r":2: .*, got \(attention_heads=3, hidden_size=32\)"),
        ("dimensions:\n  dropout: {low: 0.5, high: 1}\n", r":2: .*0 <= dropout < 1 must hold, got dropout=1\.0"),
        ("dimensions:\n  windows: 60/15\n", r":2: .*windows must be ascending minutes above 0, got \(60, 15\)"),
        ("dimensions:\n  windows: short\n", r":2: .*windows must be minutes like 15/60/240, got 'short'"),
        ("dimensions:\n  batch_size: 0\n", r":2: .*batch_size must be at least 1, got 0"),
        ("dimensions:\n  learning_rate: -1\n", r":2: .*learning_rate must be above 0, got -1"),
        (
            "dimensions:\n  dropout: 0.2\n  architecture: basic_lstm\n",
            r":3: architecture must be one of hybrid_lstm in hybrid, got 'basic_lstm': `base: all` has every one",
        ),
        ("base: all\ndimensions:\n  architecture: gru\n", r":3: architecture must be one of hybrid_lstm, .*got 'gru'"),
        (
            "dimensions:\n  attention_heads: {low: 2, high: 8, step: 2}\n",
            r":2: .*must divide hidden_size, got \(attention_heads=6, hidden_size=32\)",
        ),
        (
            "dimensions:\n  attention_heads: {choices: [8, 3], when: {windows: 15/60}}\n",
            r":2: .*must divide hidden_size, got \(attention_heads=3, hidden_size=32\)",
        ),
        (
            "base: transformer\ndimensions:\n  hidden_size: {choices: [32, 36]}\n  attention_heads: 4\n",
            r":3: .*rotary positions need .* got \(hidden_size=36, attention_heads=4\)",
        ),
        (
            "base: all\ndimensions:\n  levels:\n    choices: [4, 5]\n    when: {architecture: [tcn, tnc]}\n",
            r":5: levels depends on architecture='tnc': architecture is one of hybrid_lstm, .*tcn$",
        ),
        (
            "base: all\ndimensions:\n  levels: {choices: [4], when: {architecture: [tcn, hybrid_lstm]}}\n",
            r":3: levels exists for architecture tcn only, got 'hybrid_lstm': remove it",
        ),
        (
            "dimensions:\n  attention_span: {choices: [60], when: {hidden_size: 64}}\n",
            r":2: attention_span depends on 'hidden_size': .* stand before it",
        ),
        (
            "dimensions:\n  layers: {choices: [1], when: {heads: 4}}\n",
            r":2: layers depends on 'heads': a condition must",
        ),
        ("dimensions:\n  layers: {choices: [1], when: 5}\n", r":2: layers: when: .*valid dictionary, got 5"),
        (
            "dimensions:\n  layers: {choices: [1], when: {attention_heads: }}\n",
            r":2: layers: when.attention_heads.0: a value must be text or a finite number, got None",
        ),
        (
            "base: all\ndimensions:\n  architecture: tcn\n  blocks: 2\n",
            r":4: blocks never exists, as what it depends on is fixed otherwise: remove it",
        ),
        ("dimensions:\n  layers: .inf\n", r":2: layers: choices.0: a value must be text or a finite number, got inf"),
        ("dimensions:\n  windows: {choices: [60, '60']}\n", r":2: windows: choices: .*there once, got '60' more often"),
        (f"dimensions:\n  hidden_size: {{low: 32, high: {10**30}}}\n", r":2: hidden_size: high: .*less than or equal"),
        ("dimensions: &all\n  layers: *all\n", r":2: layers: "),
        ("dimensions:\n  loss: mse\n", r":2: .*loss must be one of cross_entropy, focal, got 'mse'"),
        ("dimensions:\n  class_weights: -1/1/1/1/1/1/1\n", r":2: .*class_weights must be above 0 and finite, got"),
        ("dimensions:\n  class_weights: {choices: [none, 1/2]}\n", r":2: .*each of the 7 horizons, got '1/2'"),
        ("dimensions: {\n", r"mine\.yaml is not a readable YAML file: .* line 2"),
        ("a: b: c\n", r"mine\.yaml is not a readable YAML file: .* line 1"),
        ("- 1\n- 2\n", r"mine\.yaml must be a mapping with keys among version, base, dimensions, got \[1, 2\]"),
        (BOMB, r"mine\.yaml must be a mapping with keys among version, base, dimensions, got \[\["),
        (f"bomb:\n{BOMB}", r"bomb: Extra inputs are not permitted, got \[\["),
        ("dimensions:\n  windows: {choices: [1:30]}\n", r":2: .*windows must be minutes like 15/60/240, got '1:30'"),
        ("dimensions:\n  batch_size: 1:30\n", r":2: batch_size: .*valid integer.* got '1:30'"),
        ("hybrid\n", r"mine\.yaml must be a mapping .* got 'hybrid'"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as error:
        load_space(path)
    assert str(error.value).startswith(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("written", "read"), [("1e-3", 1e-3), ("5E-4", 5e-4), ("0.001", 1e-3), ("1.0e-3", 1e-3), (".001", 1e-3)]
)
def test_numbers_are_read_as_everybody_writes_them(tmp_path: Path, written: str, read: float) -> None:
    """In YAML 1.1, 1e-3 is a text and 060 is 48."""
    (tmp_path / "mine.yaml").write_text(f"dimensions:\n  learning_rate: {written}\n  windows: 060\n")
    space = load_space(str(tmp_path / "mine.yaml"))
    assert space.dimensions["learning_rate"] == Choice(choices=(read,))
    assert space.dimensions["windows"] == Choice(choices=("060",))


def test_a_name_that_is_neither_shipped_nor_a_file_is_refused(tmp_path: Path) -> None:
    for name in ("hybird", str(tmp_path)):
        with pytest.raises(InputError, match=f"space '{name}' is neither a file nor one of hybrid, basic, .* all"):
            load_space(name)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not a readable YAML file"):
        load_space(str(tmp_path / "mine.yaml"))
