"""The entry point: runs a verb, turns exceptions into one line on stderr and an exit status.

0 done; 1 failed; 2 the user's mistake, told with rule and value; 128 + N stopped by signal N after a save.
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
        # This process is ours alone. Keras imports scikit-learn where it finds it, for wrappers that nothing
        # here uses: 0.8 s at every start. Code that needs it later takes this entry away.
        sys.modules.setdefault("sklearn", cast("ModuleType", None))
    try:
        cli(arguments, prog_name="reeltrain", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        from data_pipeline.errors import UserError

        if isinstance(error, UserError):
            _fail(str(error), 2)
        # One raised while a batch was read has come through TensorFlow, which adds to it.
        if told := re.search(r"\bUserError: (.+)", str(error)):
            _fail(told[1], 2)
        if isinstance(error, OSError) and error.strerror:
            _fail(f"{error.strerror}: {error.filename or ''}", 1)
        _fail(f"{type(error).__name__}: {error}", 1)


def _fail(message: str, status: int) -> NoReturn:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    print(f"reeltrain: {' '.join(lines)[:1000]}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
