"""A space by its name, or from a YAML file that narrows, fixes or widens dimensions of a shipped one.

base: hybrid
dimensions:
  hidden_size: {choices: [32, 48, 64]}
  learning_rate: {low: 3.0e-4, high: 1.0e-3, log: true}
  dropout: 0.2                                      # fixed
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from data.document import first_problem
from data.schema import InputError
from spaces.basic import BASIC
from spaces.hybrid import HYBRID
from spaces.parameters import Choice, Config, Dimension, Float, Int, Scalar, Space
from spaces.trial_config import Budget, trial_config

SHIPPED = {space.name: space for space in (HYBRID, BASIC)}


class _SpaceFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    base: str = HYBRID.name
    dimensions: dict[str, Any] = {}


def load_space(name_or_file: str) -> Space:
    """Raises InputError naming file, line and key if it is neither a shipped name nor a valid file."""
    if name_or_file in SHIPPED:
        return SHIPPED[name_or_file]
    path = Path(name_or_file)
    if not path.is_file():
        raise InputError(f"space {name_or_file!r} is neither a file nor one of {', '.join(SHIPPED)}")
    return _read_space_file(path)


def check_space(space: Space, written: Mapping[str, str]) -> None:
    """Every value that can be sampled makes a model: each choice by itself, heads with hidden sizes jointly.

    written: file and line of the dimensions that are not the shipped ones.
    """
    candidates: list[Config] = []
    for name, dimension in space.dimensions.items():
        values = (dimension.low, dimension.high) if isinstance(dimension, Float) else dimension.values
        joint = name in ("hidden_size", "attention_heads") and "attention_heads" in space.dimensions
        candidates += [] if joint else [{name: value} for value in values]
    if "attention_heads" in space.dimensions:
        pairs = space.combinations("hidden_size", "attention_heads")
        candidates += [{"hidden_size": size, "attention_heads": heads} for size, heads in pairs]
    for candidate in candidates:
        try:
            trial_config(space.guide | candidate, input_size=1, horizons=1, budget=Budget())
        except InputError as error:
            where = next((written[name] for name in candidate if name in written), space.name)
            raise InputError(f"{where}: the space holds an impossible configuration: {error}") from None


def _read_space_file(path: Path) -> Space:
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} is not a readable YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict | None):
        raise InputError(f"{path} must be a mapping with keys among version, base, dimensions, got {content!r:.80}")
    try:
        file = _SpaceFile.model_validate(content or {})
    except ValidationError as error:
        where = _line(root, error.errors()[0]["loc"])
        raise InputError(f"{path}{where}: {first_problem(error)}; known keys: version, base, dimensions") from None
    if file.base not in SHIPPED:
        raise InputError(f"{path}{_line(root, ('base',))}: base must be one of {', '.join(SHIPPED)}, got {file.base!r}")
    base = SHIPPED[file.base]
    dimensions = dict(base.dimensions)
    written = {name: f"{path}{_line(root, ('dimensions', name))}" for name in file.dimensions}
    for name, value in file.dimensions.items():
        where = written[name]
        if name not in dimensions:
            raise InputError(f"{where}: {file.base} has no dimension {name!r}: it has {', '.join(dimensions)}")
        dimensions[name] = _dimension(value, base.dimensions[name], f"{where}: {name}")
    space = Space(name=path.stem, dimensions=dimensions, guide=base.guide)
    check_space(space, written)
    return space


def _dimension(value: Any, base: Dimension, where: str) -> Dimension:
    """A value fixes the dimension, choices list it, bounds make a range; numbers are of the base's kind."""
    whole = not isinstance(base, Float) and all(isinstance(v, int) for v in base.values)
    text = not isinstance(base, Float) and not whole
    try:
        if not (text or isinstance(value, Scalar) or (isinstance(value, dict) and "choices" in value)):
            return TypeAdapter(Int if whole else Float).validate_python(value)
        listed = Choice.model_validate({"choices": [value]} if isinstance(value, Scalar) else value)
        number = TypeAdapter(int if whole else float)
        return listed if text else Choice(choices=tuple(number.validate_python(v) for v in listed.choices))
    except ValidationError as error:
        raise InputError(
            f"{where}: {first_problem(error)}; a dimension is one value, {{choices: [..]}} or "
            "{low: .., high: .., log: .. or step: ..}"
        ) from None


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
