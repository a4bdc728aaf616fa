"""A configuration from a YAML or JSON file, or from a mapping: keys nested or dotted, each once.

YAML is read by the rules of YAML 1.2 (`no` is a string, `1e-3` a number). Anchors, aliases and tags are
errors, so reading a file runs and imports nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from data_pipeline.errors import UserError, shown
from data_pipeline.settings import parse_settings, unknown_setting
from trainer.config.parts import PARTS, SETTINGS

MAX_BYTES = 1_000_000
# The keys of a workdir's `config.json`, of which `config` is the configuration.
RUN_KEYS = frozenset(("config", "dataset", "precision"))


@dataclass(frozen=True)
class ConfigFile:
    """The content of a configuration file.

    Attributes:
        recipe: None if the file names none.
        values: dotted key -> value, not yet checked.
        names_model: whether a `module:function` in it may be imported. Not if it is JSON: a run's
            `config.json` is data, which may come from somebody else.
    """

    recipe: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    names_model: bool = False


class Pairs(list[tuple[Any, Any, str]]):
    """A mapping as it was written: (key, value, where), with keys that occur twice."""


def read_config(config: str | Path | Mapping[str, Any] | ConfigFile | None) -> ConfigFile:
    """Reads a configuration file, or takes a mapping for one; None is an empty one.

    Raises:
        UserError: it is not a file of at most `MAX_BYTES`, not UTF-8, not a mapping, or has keys that are
            unknown or occur twice.
    """
    if config is None:
        return ConfigFile()
    if isinstance(config, ConfigFile):
        return config
    if isinstance(config, Mapping):
        return _config_file(_pairs_of(config, "config"), "config", is_json=False)
    if not isinstance(config, str | Path):
        raise UserError(f"a configuration must be a file or a mapping, got {shown(config)}")
    path = Path(config)
    text = _read_text(path)
    is_json = path.suffix == ".json"
    try:
        content = _read_json(text, str(path)) if is_json else _read_yaml(text, str(path))
    except RecursionError:
        raise UserError(f"{path}: a configuration must have at most two levels, got many more") from None
    return _config_file(content, str(path), is_json=is_json)


def _config_file(content: Any, name: str, *, is_json: bool) -> ConfigFile:
    is_run = isinstance(content, Pairs) and {key for key, _, _ in content if isinstance(key, str)} >= RUN_KEYS
    if is_run:
        content = next(value for key, value, _ in content if key == "config")
    if not isinstance(content, Pairs):
        raise UserError(
            f"{name}: a configuration must be a mapping of keys to values, got {shown(content, 60)}"
        )
    values: dict[str, Any] = {}
    for key, value, where in _flat(content):
        if key in values:
            raise UserError(f"{where}: each key may appear only once, got {key} again")
        if key != "recipe" and key not in SETTINGS:
            if is_run:
                raise UserError(f"{where}: {newer_version(key)}")
            raise UserError(f"{where}: {unknown_setting(key, SETTINGS, parts=PARTS)}")
        values[key] = _value(key, value)
    recipe = values.pop("recipe", None)
    if recipe is not None and not isinstance(recipe, str):
        raise UserError(f"{name}: recipe must be str, got {shown(recipe)}")
    return ConfigFile(recipe, values, names_model=not is_run and not is_json)


def newer_version(key: str) -> str:
    """The error for a stored key that this version does not know."""
    return (
        f"unknown setting {shown(key)}: the configuration is of a newer version of reeltrain, "
        f"this is {metadata.version('reeltrain')}"
    )


def _flat(pairs: Pairs, part: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted key, value, where)."""
    names = set()
    for name, value, where in pairs:
        if not isinstance(name, str):
            raise UserError(f"{where}: a key must be a string, got {shown(name)}")
        key = f"{part}.{name}" if part else name
        if key in names:
            raise UserError(f"{where}: each key may appear only once, got {key} again")
        names.add(key)
        if not part and key in PARTS:
            if value is not None and not isinstance(value, Pairs):  # nothing: all its keys are commented out
                raise UserError(f"{where}: {key} must be a mapping of keys to values, got {shown(value)}")
            yield from _flat(value or Pairs(), key)
        else:
            yield key, value, where


def _value(key: str, value: Any) -> Any:
    """The value in the type that the declaration checks; texts such as `none` and `64,32` as in `--set`."""
    if isinstance(value, Pairs):
        value = {str(name): each for name, each, _ in value}
    declared = SETTINGS.get(key)
    if declared and isinstance(value, str) and (declared.is_tuple or declared.is_optional):
        return parse_settings([f"{key}={value}"], SETTINGS)[key]
    return value


def _read_text(path: Path) -> str:
    if path.is_dir():
        raise UserError(f"{path}: a configuration must be a file, got a folder")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f"{path}: a configuration file must be readable, got: {error}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: a configuration file must have at most {MAX_BYTES:,} bytes, got more")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = content[error.start : error.start + 1]
        raise UserError(f"{path}: a configuration file must be UTF-8 text, got the byte {bad!r}") from None


def _pairs_of(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return Pairs((key, _pairs_of(each, where), where) for key, each in value.items())
    return value


def _read_json(text: str, name: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda items: Pairs((k, v, name) for k, v in items))
    except json.JSONDecodeError as error:
        raise UserError(f"{name}:{error.lineno}: a .json file must be JSON, got: {error.msg}") from None
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{name}: a .json file must be JSON, got: {error}") from None


def _read_yaml(text: str, name: str) -> Any:
    from trainer.config.strict_yaml import read_strict_yaml

    return read_strict_yaml(text, name, Pairs)
