"""The package's logger, and how its messages reach a terminal.

Modules call `log.info(...)` and `log.warning(...)`. The entry points (the command line, `reeltrain.train` …)
show them on stderr while a call lasts, with `shown()`. A program that configured logging itself keeps its own
handlers.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger("reeltrain")


def console() -> Console:
    """The console on stderr, shared by log lines and progress displays: neither overwrites the other."""
    # While a progress display is shown, rich puts a proxy in the place of stderr.
    return _console_on(getattr(sys.stderr, "rich_proxied_file", sys.stderr))


@functools.lru_cache(maxsize=1)
def _console_on(stream: TextIO) -> Console:
    # By stream: rich decides once whether a console is interactive, and stderr may be redirected.
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)


class _ConsoleHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            console().print(self.format(record))
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def shown(*, quiet: bool = False) -> Iterator[None]:
    """Shows messages of level INFO and above on stderr; leaves the logging configuration as it was.

    Args:
        quiet: shows nothing.
    """
    was_disabled, level = log.disabled, log.level
    is_configured = bool(log.handlers) or (log.hasHandlers() and log.isEnabledFor(logging.INFO))
    handler = None if quiet or is_configured else _ConsoleHandler()
    log.disabled = was_disabled or quiet
    if handler:
        log.addHandler(handler)
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.disabled = was_disabled
        if handler:
            log.removeHandler(handler)
            log.setLevel(level)
