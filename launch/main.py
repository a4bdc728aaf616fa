"""The entry point: runs a verb and turns exceptions into one line on stderr and an exit status.

0: success. 1: failure. 2: invalid input; the line has the rule and the value received. 128 + N: stopped by
signal N, after a checkpoint was saved.
"""

from __future__ import annotations

import re
import sys
import traceback
from types import ModuleType
from typing import NoReturn, cast

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
    try:
        cli(arguments, prog_name="reeltrain", standalone_mode=False, obj=given)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
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
            _fail(f"{error.strerror}: {error.filename or ''}", 1)
        _fail(f"{type(error).__name__}: {error}", 1)


def _fail(message: str, status: int) -> NoReturn:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    print(f"reeltrain: {' '.join(lines)[:1000]}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
