"""Advice in messages, in the words of the surface that shows it: options or keywords.

Library code knows what helps, not who asks. The command line names the options of its verb with `speaking()`;
everywhere else advice is Python's.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Collection, Iterator

# The options of the verb that runs, without dashes; None in Python. A process has one command line, and the
# threads that read ratings must see it, so this is no context variable.
_options: Collection[str] | None = None


@contextlib.contextmanager
def speaking(options: Collection[str]) -> Iterator[None]:
    """Advice names these options of a verb while the block lasts."""
    global _options
    before, _options = _options, options
    try:
        yield
    finally:
        _options = before


def words(command_line: str, python: str) -> str:
    """What to write on the command line or in Python."""
    return python if _options is None else command_line


def setting(key: str, value: object) -> str:
    """How a setting is given: by an option of the verb if it has one, by `--set`, or in Python.

    Every call in Python that reads ratings takes `data.*` as keywords.

    >>> setting("data.columns", "item=COLUMN")
    'columns="item=COLUMN"'
    >>> with speaking(["columns", "set"]):
    ...     setting("data.columns", "item=COLUMN"), setting("train.epochs", "2")
    ('--columns item=COLUMN', '--set train.epochs=2')
    """
    if _options is None:
        name, shown = key.removeprefix("data."), f'"{value}"' if isinstance(value, str) else str(value)
        return f"{name}={shown}" if name != key else f'settings={{"{key}": {shown}}}'
    option = key.removeprefix("data.").replace("_", "-")
    if key.startswith("data.") and option in _options:
        return f"--{option} {shlex.quote(str(value))}"
    if "set" not in _options:
        return f"the setting {key}={value}"
    return f"--set {shlex.quote(f'{key}={value}')}"


def another_workdir() -> str:
    """How to name another folder for a run; verbs that only read a run take it as their argument."""
    if _options is None:
        return "another workdir"
    return "another --workdir" if "workdir" in _options else "another WORKDIR"
