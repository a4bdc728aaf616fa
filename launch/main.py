"""The entry point: runs a verb and turns exceptions into one line on stderr and an exit status.

0: success. 1: failure. 2: invalid input; the line has the rule and the value received. 128 + N: stopped by
signal N, after a checkpoint was saved.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
from types import ModuleType
from typing import Any, NoReturn, cast

import click

from launch.cli import cli


def main(arguments: list[str] | None = None) -> None:
    """Runs `reeltrain ARGUMENTS` (by default those of the process) and exits."""
    if arguments is None:
        arguments = sys.argv[1:]
        # This process runs nothing but a verb. Keras imports scikit-learn if it is installed, for wrappers
        # that nothing here uses: 0.8 s at every start. Code that needs it later removes this entry.
        sys.modules.setdefault("sklearn", cast("ModuleType", None))
    given = {"debug": False}
    with contextlib.suppress(AttributeError):  # a replaced stdout may be no text file
        # Titles, paths and help may have characters that stdout lacks, such as ASCII's.
        cast("Any", sys.stdout).reconfigure(errors="backslashreplace")
    with contextlib.redirect_stderr(cast("Any", _Lossy(sys.stderr))):
        _run(arguments, given)


class _Lossy:
    """A stderr that drops what it cannot write: a full disk or a closed pipe must not end a training run."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def _run(arguments: list[str], given: dict[str, bool]) -> None:
    try:
        cli(arguments, prog_name="reeltrain", standalone_mode=False, obj=given)
        _flush_stdout()
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of stdout has all that it wanted, as in `| head`; click does the same within a verb.
        _discard_stdout()
        sys.exit(1)
    except Exception as error:
        if given["debug"]:
            traceback.print_exc()
        from data_pipeline.errors import UserError

        if isinstance(error, UserError):
            _fail(str(error), 2)
        # If it was raised while a batch was read, TensorFlow has wrapped it in an error of its own.
        if wrapped := re.search(r"\bUserError: (.+)", str(error)):
            _fail(wrapped[1], 2)
        if isinstance(error, OSError) and error.strerror:
            _fail(f"{error.strerror}: {error.filename}" if error.filename else error.strerror, 1)
        _fail(f"{type(error).__name__}: {error}", 1)


def _flush_stdout() -> None:
    """Writes what is buffered now, where an error still gets its line."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_stdout()
        _fail(f"stdout: {error.strerror}", 1)


def _discard_stdout() -> None:
    """Python flushes stdout once more when it ends, which would fail again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, status: int) -> NoReturn:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    print(f"reeltrain: {' '.join(lines)[:1000]}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
