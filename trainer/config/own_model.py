"""A model of your own, `module:function`: imported only where a command or a call names it.

A run's `config.json` also holds the name. It is data, which may come from somebody else, so it never causes
an import: continuing, evaluating or using such a run takes `--model module:function`, or `model=` in Python.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from data_pipeline.errors import UserError, shown
from trainer.config.file import ConfigFile

Function = TypeVar("Function", bound=Callable[..., Any])


def is_own_model(name: str) -> bool:
    """Whether a model's name is `module:function`."""
    return ":" in name


def require_named_model(name: str, named: object, *, where: object) -> None:
    """Refuses a stored model of your own that nobody named, and a named one where the stored is ours.

    Args:
        name: the stored `model.name`.
        named: the function or its `module:function`, None where it was not named.
        where: what stores the name, for the error.
    """
    if isinstance(named, str) and not is_own_model(named):
        raise UserError(f"--model must be module:function, got {shown(named)}")
    if named is not None and not is_own_model(name):
        raise UserError(f"{where}: --model is for a model of your own, got {named!r} for model.name={name}")
    if named is None and is_own_model(name):
        raise UserError(
            f"{where}: model.name={name} is imported only if you name it; "
            f"give --model {name}, or model= in Python"
        )


def named_model(
    name: str, given: Function | str | None, settings: Iterable[str], file: ConfigFile
) -> Function | str | None:
    """What this call names for the configuration's `model.name`; None for a model of ours.

    A setting names it, and so does a configuration file, unless the file is JSON (a run's `config.json` is).

    Raises:
        UserError: it is a model of your own that nothing of this names.
    """
    by_setting = any(setting.partition("=")[0].strip() == "model.name" for setting in settings)
    if given is None and is_own_model(name) and (by_setting or file.names_model):
        return name
    require_named_model(name, given, where="the configuration")
    return given


def import_model(named: Function | str) -> Function | Callable[..., Any]:
    """The function, imported where it is given as `module:function`, also from the current folder.

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
