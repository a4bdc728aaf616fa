"""Texts and files to a configuration: defaults < recipe < file < `--set part.key=value`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from data_pipeline.errors import UserError, shown
from data_pipeline.settings import parse_settings, unknown_setting
from trainer.config.file import ConfigFile, newer_version
from trainer.config.parts import PARTS, SETTINGS, Config

DEFAULT_RECIPE = "article"


def make_config(
    recipe: str | None,
    recipes: Mapping[str, Mapping[str, Any]],
    settings: Iterable[str] = (),
    file: ConfigFile | None = None,
) -> Config:
    """The configuration of a recipe, with a file's values and `part.key=value` settings on top.

    >>> make_config("r", {"r": {"train.epochs": 3}}, ["model.hidden_units=8,4"]).model.hidden_units
    (8, 4)

    Args:
        recipe: None takes the file's recipe, or `article` where it names none.
        recipes: name -> dotted key -> value.

    Raises:
        UserError: unknown recipe or key, or a value of the wrong type or out of its range.
    """
    name = recipe or (file.recipe if file else None) or DEFAULT_RECIPE
    if not isinstance(name, str) or name not in recipes:
        raise UserError(f"recipe must be one of {', '.join(recipes)}, got {shown(name)}")
    values = {**recipes[name], **(file.values if file else {}), **parse_settings(settings, SETTINGS)}
    return build_config(values, recipe=name)


def setting_texts(settings: Mapping[str, object] | Iterable[str]) -> list[str]:
    """`part.key=value` texts; a mapping has dotted keys."""
    if isinstance(settings, str | bytes) or not isinstance(settings, Iterable):
        raise UserError(
            f"settings must be a mapping or a list of part.key=value texts, got {shown(settings)}"
        )
    if isinstance(settings, Mapping):
        return [f"{key}={'none' if value is None else value}" for key, value in settings.items()]
    texts = list(settings)
    for text in texts:
        if not isinstance(text, str):
            raise UserError(
                f"settings must be a mapping or a list of part.key=value texts, got {shown(text)} among them"
            )
    return texts


def config_from_json(text: str) -> Config:
    """Reads back `Config.to_json`; keys that this version does not know are errors.

    Raises:
        UserError: not a configuration, or that of a newer version.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise UserError(
            f"a configuration is an object with the parts {', '.join(PARTS)}, got {shown(content)}"
        )
    missing = [part for part in PARTS if not isinstance(content.get(part), dict)]
    if missing:
        raise UserError(f"a configuration has the parts {', '.join(PARTS)}, got none of {missing}")
    values = {f"{part}.{key}": value for part in PARTS for key, value in content[part].items()}
    for key in (*content, *values):
        if key != "recipe" and key not in PARTS and key not in SETTINGS:
            raise UserError(newer_version(key))
    return build_config(values, recipe=content.get("recipe", DEFAULT_RECIPE))


def build_config(values: Mapping[str, Any], *, recipe: str) -> Config:
    """The configuration with these values of dotted keys, and defaults for all others."""
    parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for key, value in values.items():
        if key not in SETTINGS:
            raise UserError(unknown_setting(key, SETTINGS, parts=PARTS))
        part, _, name = key.partition(".")
        parts[part][name] = value
    return Config(recipe, **{part: kind(**parts[part]) for part, kind in PARTS.items()})
