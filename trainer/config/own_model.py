"""A model of your own, `module:function`: imported only where a command or a call names it.

A run's `config.json` also holds the name. It is data, which may come from somebody else, so it never causes
an import: continuing, evaluating or using such a run takes `--model module:function`, or `model=` in Python.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from data_pipeline import advice
from data_pipeline.errors import UserError, shown
from trainer.config.file import ConfigFile

Function = TypeVar("Function", bound=Callable[..., Any])


def is_own_model(name: str) -> bool:
    """Whether a model's name is `module:function`."""
    return ":" in name


def require_named_model(name: str, named: object, *, where: object) -> None:
    """Raises UserError if a stored model of your own was not named, or one was named for a built-in model.

    Args:
        name: the stored `model.name`.
        named: the function or its `module:function`; None if this call did not name it.
        where: where the name is stored, for the error message.
    """
    if isinstance(named, str) and not is_own_model(named):
        raise UserError(f"{advice.words('--model', 'model')} must be module:function, got {shown(named)}")
    if named is not None and not is_own_model(name):
        option = advice.words("--model", "model")
        raise UserError(f"{where}: {option} is for a model of your own, got {named!r} for model.name={name}")
    if named is None and is_own_model(name):
        raise UserError(
            f"{where}: model.name={name} is imported only if you name it; give {how_to_name(name)}"
        )


def how_to_name(name: str) -> str:
    """How this verb or call names a model of your own, for a message."""
    # A function of a notebook or a script, or one inside a function, has no name to import it by.
    if name.startswith("__main__:") or "<" in name:
        return advice.words("model= in Python", "model=FUNCTION")
    return advice.words(f"--model {shlex.quote(name)}", f'model="{name}"')


def named_model(
    name: str, given: Function | str | None, settings: Iterable[str], file: ConfigFile
) -> Function | str | None:
    """The model of your own that this call names; None if the configuration has a built-in model.

    `--model`, a setting, or a YAML configuration file can name it. A JSON file cannot, because a run's
    `config.json` is one.

    Raises:
        UserError: the configuration has a model of your own that none of these names.
    """
    by_setting = any(setting.partition("=")[0].strip() == "model.name" for setting in settings)
    if given is None and is_own_model(name) and (by_setting or file.names_model):
        return name
    require_named_model(name, given, where="the configuration")
    return given


def import_model(named: Function | str) -> Function | Callable[..., Any]:
    """Returns the function; imports it if given as `module:function`, also from the current folder.

    Raises:
        UserError: no such function.
    """
    if not isinstance(named, str):
        return named
    module_name, _, function_name = named.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"model.name={named} must be a function that can be imported: {error}") from None
    if not callable(function):
        raise UserError(f"model.name={named} must be a function, got {function!r}")
    return function
