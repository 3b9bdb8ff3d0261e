"""A space by its name, or from a YAML file that narrows, fixes or widens dimensions of a shipped one.

base: hybrid
dimensions:
  hidden_size: {choices: [32, 48, 64]}
  learning_rate: {low: 3.0e-4, high: 1.0e-3, log: true}
  dropout: 0.2                                      # fixed
  attention_span: {choices: [60, 240], when: {attention_heads: 8}}
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from hybridtune.data.document import first_problem
from hybridtune.data.schema import InputError
from hybridtune.data.text import shown
from hybridtune.spaces.basic import BASIC
from hybridtune.spaces.check import check_space
from hybridtune.spaces.every import ALL
from hybridtune.spaces.hybrid import HYBRID
from hybridtune.spaces.parameters import Choice, Dimension, Float, Int, Scalar, Space, check_condition
from hybridtune.spaces.tcn import TCN
from hybridtune.spaces.transformer import TRANSFORMER
from hybridtune.spaces.trial_config import Shape, parse_windows

SHIPPED = {space.name: space for space in (HYBRID, BASIC, TRANSFORMER, TCN, ALL)}


class _Loader(yaml.SafeLoader):
    """Numbers as everybody writes them: in YAML 1.1, 1:30 is 90, 060 is 48, and 1e-4 is a text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in ("int", "float")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, _pattern in (
    ("int", r"[-+]?(0|[1-9][0-9]*)"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"({_pattern})$"), list("-+.0123456789"))


class _SpaceFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    base: str = HYBRID.name
    dimensions: dict[str, Any] = {}


def load_space(name_or_file: str, shape: Shape | None = None) -> Space:
    """The space as a dataset of this shape can use it: without the shipped windows that are longer than its history.

    Raises InputError naming file, line and key if it is neither a shipped name nor a valid file, or if what was written
    does not fit.
    """
    shape = shape or Shape()
    if name_or_file in SHIPPED:
        return _fitted(SHIPPED[name_or_file], shape, {})
    path = Path(name_or_file)
    if not path.is_file():
        raise InputError(f"space {name_or_file!r} is neither a file nor one of {', '.join(SHIPPED)}")
    return _read_space_file(path, shape)


def _fitted(space: Space, shape: Shape, written: Mapping[str, str]) -> Space:
    """Without the windows that are longer than the history, where nobody wrote them."""
    changes: dict[str, Dimension] = {}
    for name in ("window", "windows"):
        dimension = space.dimensions.get(name)
        if isinstance(dimension, Choice) and name not in written:
            short = tuple(text for text in dimension.choices if max(parse_windows(text)) <= shape.history)
            if not short:
                raise InputError(
                    f"no {name} of the space {space.name} fits the history of {shape.history} minutes: give shorter "
                    "ones in a space file, or prepare with a larger --expanding-max"
                )
            changes[name] = dimension.model_copy(update={"choices": short})
    return space.with_dimensions(changes)


def _read_space_file(path: Path, shape: Shape) -> Space:
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 it is a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} is not a readable YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict | None):
        raise InputError(f"{path} must be a mapping with keys among version, base, dimensions, got {shown(content)}")
    _refuse_doubles(root, path)
    try:
        file = _SpaceFile.model_validate(content or {})
    except ValidationError as error:
        where = _line(root, error.errors()[0]["loc"])
        raise InputError(f"{path}{where}: {first_problem(error)}; known keys: version, base, dimensions") from None
    if file.base not in SHIPPED:
        raise InputError(f"{path}{_line(root, ('base',))}: base must be one of {', '.join(SHIPPED)}, got {file.base!r}")
    base = SHIPPED[file.base]
    written = {name: f"{path}{_line(root, ('dimensions', name))}" for name in file.dimensions}
    changes: dict[str, Dimension] = {}
    for name, value in file.dimensions.items():
        if name not in base.dimensions:
            known = ", ".join(base.dimensions)
            raise InputError(f"{written[name]}: {file.base} has no dimension {name!r}: it has {known}")
        changes[name] = _dimension(value, base.dimensions[name], f"{written[name]}: {name}")
    for name, dimension in changes.items():
        _check_against_base(name, dimension, base, changes, lambda *keys: f"{path}{_line(root, ('dimensions', *keys))}")
    space = base.with_dimensions(changes, path.stem)
    for name in changes:
        if name not in space.dimensions:
            raise InputError(
                f"{written[name]}: {name} never exists, as what it depends on is fixed otherwise: remove it"
            )
    space = _fitted(space, shape, written)
    check_space(space, written, shape)
    return space


def _check_against_base(
    name: str, dimension: Dimension, base: Space, changes: Mapping[str, Dimension], line: Callable[..., str]
) -> None:
    """What a file may not ask of its base: an architecture that it does not have, a dimension where there is none.

    line: keys below `dimensions` -> file and line.
    """
    shipped = base.dimensions[name]
    if name == "architecture" and (new := [v for v in _listed(dimension) if v not in _listed(shipped)]):
        raise InputError(
            f"{line(name)}: architecture must be one of {', '.join(map(str, _listed(shipped)))} in {base.name}, got "
            f"{new[0]!r}: `base: all` has every one"
        )
    before = list(base.dimensions)[: list(base.dimensions).index(name)]
    for other, values in dimension.when.items():
        parents = [changes.get(other, base.dimensions[other]), base.dimensions[other]] if other in before else []
        try:
            check_condition(name, other, values, parents)
        except InputError as error:
            raise InputError(f"{line(name, 'when', other)}: {error}") from None
        only = shipped.when.get(other, values)
        if wider := [value for value in values if value not in only]:
            raise InputError(
                f"{line(name, 'when', other)}: {name} exists for {other} {', '.join(map(str, only))} only, got "
                f"{wider[0]!r}: remove it"
            )


def _listed(dimension: Dimension) -> Sequence[Scalar]:
    assert not isinstance(dimension, Float)
    return dimension.values


def _refuse_doubles(root: yaml.Node | None, path: Path) -> None:
    """YAML lets the last of two equal keys win, in silence."""
    # An alias may stand for its own parent, or for one node many times over.
    seen: set[int] = set()
    left = [root]
    while left:
        node = left.pop()
        if not isinstance(node, yaml.MappingNode) or id(node) in seen:
            continue
        seen.add(id(node))
        keys: set[str] = set()
        for key, value in node.value:
            if key.value in keys:
                raise InputError(f"{path}:{key.start_mark.line + 1}: {key.value!r} is there twice: keep one of them")
            keys.add(key.value)
            left.append(value)


def _dimension(value: Any, base: Dimension, where: str) -> Dimension:
    """A value fixes the dimension, choices list it, bounds make a range; numbers are of the base's kind."""
    whole = not isinstance(base, Float) and all(isinstance(v, int) for v in base.values)
    text = not isinstance(base, Float) and not whole
    when: dict[str, Any] = dict(base.when)
    try:
        if isinstance(value, dict) and isinstance(value.get("when"), dict):
            given = {other: v if isinstance(v, list) else [v] for other, v in value["when"].items()}
            when, value = when | given, {key: v for key, v in value.items() if key != "when"}
        if not (text or isinstance(value, Scalar) or (isinstance(value, dict) and "choices" in value)):
            kind = Int if whole else Float
            if isinstance(value, dict):
                _refuse_truth([v for key, v in value.items() if key != "log"], where)
            return kind.model_validate(value | {"when": when} if isinstance(value, dict) else value)
        listed = Choice.model_validate({"choices": [value]} if isinstance(value, Scalar) else value)
        if not text:
            _refuse_truth(listed.choices, where)
        number = TypeAdapter(int if whole else float)
        # 60 and 30/90 are of one kind in the table of trials.
        choices = tuple(str(v) if text else number.validate_python(v) for v in listed.choices)
        return Choice(choices=choices, when=when)
    except ValidationError as error:
        raise InputError(
            f"{where}: {first_problem(error)}; a dimension is one value, {{choices: [..]}} or "
            "{low: .., high: .., log: .. or step: ..}, with {when: {other: value}} where it depends on another"
        ) from None


def _refuse_truth(values: Iterable[Any], where: str) -> None:
    """Python takes true for 1."""
    if any(isinstance(value, bool) for value in values):
        raise InputError(f"{where} must be a number, got true or false")


def _line(root: yaml.Node | None, keys: tuple[int | str, ...]) -> str:
    """`:LINE` of the deepest key that the document has."""
    line, node = None, root
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        found = [(k, v) for k, v in node.value if k.value == str(key)]
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return "" if line is None else f":{line}"
