"""Files that are replaced as a whole: after a crash the old or the new content is there, never a part."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from data_pipeline.errors import UserError, shown


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yields a path in the same folder to write to; that file then replaces `path`, unless the block raises.

    Raises:
        OSError: the disk is full, or the file cannot be written; `path` is as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)  # left by a process that was killed
    try:
        yield partial
        move_into_place(partial, path)
    finally:
        # `os.replace` also leaves it where both names are already the same file.
        partial.unlink(missing_ok=True)


def path_of(value: object, name: str) -> Path:
    """The path that an argument names.

    >>> path_of(b"run", "workdir")
    Traceback (most recent call last):
    data_pipeline.errors.UserError: workdir must be a path, a str or Path, got b'run'

    Raises:
        UserError: it is not a str or a path, or holds a null character.
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or "\0" in path:
        raise UserError(f"{name} must be a path, a str or Path, got {shown(value)}")
    return Path(path)


def replace_text(path: Path, text: str) -> None:
    """Makes `text` the content of a file, in UTF-8."""
    with replaced_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def move_into_place(written: Path, path: Path) -> None:
    """Moves a file to `path` once its content is on the disk; both must be on one file system."""
    with written.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(written, path)
