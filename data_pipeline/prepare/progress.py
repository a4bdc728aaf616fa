"""What a person sees while ratings are prepared; on stderr, so that stdout stays for results."""

from __future__ import annotations

import sys
import time

from data_pipeline.parsing.chunks import ReadReport

# Nothing is shown of what is done sooner.
SILENT_SECS = 1.5
LINE_EVERY_SECS = 5.0
TERMINAL_EVERY_SECS = 0.2
# Assumed shares of the time (measured with 20 M rows of CSV): reading, selecting, writing.
READING, SELECTING = 0.6, 0.2


class PrepareProgress:
    """One line, rewritten in a terminal, else repeated now and then: phase, rows, rows/s, time left.

    Args:
        quiet: shows nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._begun = time.monotonic()
        self._shown_at = 0.0
        self._is_terminal = sys.stderr.isatty()
        self._width = 0

    def reading(self, report: ReadReport, num_rows: int) -> None:
        """After every batch."""
        done = report.bytes_read / report.total_bytes if report.total_bytes else None
        self._show("reading", num_rows, done, 0.0, READING)

    def selecting(self, what: str, num_rows: int) -> None:
        """Before every step between reading and writing."""
        self._show(what, num_rows, 0.0, READING, SELECTING)

    def writing(self, num_done: int, num_rows: int) -> None:
        """After every piece."""
        begin = READING + SELECTING
        self._show("writing", num_done, num_done / max(1, num_rows), begin, 1 - begin)

    def close(self) -> None:
        """Clears the terminal's line."""
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0

    def _show(self, phase: str, num_rows: int, done: float | None, begin: float, share: float) -> None:
        now = time.monotonic()
        every = TERMINAL_EVERY_SECS if self._is_terminal else LINE_EVERY_SECS
        took = now - self._begun
        if self._quiet or took < SILENT_SECS or now - self._shown_at < every:
            return
        self._shown_at = now
        text = f"prepare   {phase}: {num_rows:,} rows, {num_rows / took:,.0f} rows/s"
        if done is not None and (overall := begin + share * min(done, 1.0)) > 0:
            text += f", {took / overall - took:.0f} s left"
        if self._is_terminal:
            print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(text)
        else:
            print(text, file=sys.stderr, flush=True)
