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
import threading
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


# The calls that are running, (thread, whether quiet), and how the first of them found the logger.
_lock = threading.Lock()
_calls: list[tuple[int, bool]] = []
_found: tuple[bool, int] = (False, logging.NOTSET)
_handler = _ConsoleHandler()


@contextlib.contextmanager
def shown(*, quiet: bool = False) -> Iterator[None]:
    """Shows messages of level INFO and above on stderr; leaves the logging configuration as it was.

    Calls of several threads may overlap: messages are shown while one of the threads is not quiet.

    Args:
        quiet: shows nothing, also of the calls inside.
    """
    global _found
    call = (threading.get_ident(), quiet)
    with _lock:
        if not _calls:
            _found = log.disabled, log.level
        _calls.append(call)
        _configure()
    try:
        yield
    finally:
        with _lock:
            _calls.remove(call)
            _configure()


def _configure() -> None:
    """Gives the logger the handler, the level and the silence that the running calls ask for."""
    was_disabled, level = _found
    loud = {thread for thread, _ in _calls} - {thread for thread, quiet in _calls if quiet}
    log.disabled = was_disabled or (bool(_calls) and not loud)
    is_configured = bool(log.handlers) or (log.hasHandlers() and log.isEnabledFor(logging.INFO))
    if loud and not is_configured:
        log.addHandler(_handler)
        log.setLevel(logging.INFO)
    elif not _calls and _handler in log.handlers:
        log.removeHandler(_handler)
        log.setLevel(level)
