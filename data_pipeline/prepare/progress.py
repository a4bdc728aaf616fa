"""Progress of `prepare` on stderr; stdout is only for results."""

from __future__ import annotations

import sys
import time

from data_pipeline.parsing.chunks import ReadReport

# No progress is shown before this time.
SILENT_SECS = 1.5
LINE_EVERY_SECS = 5.0
TERMINAL_EVERY_SECS = 0.2
# Assumed shares of the time (measured with 20 M rows of CSV); the rest is for writing.
READING, SELECTING = 0.6, 0.2


class PrepareProgress:
    """Shows phase, rows, rows/s and time left: one line that is updated in a terminal, else a line every 5 s.

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
        """To be called after every batch read."""
        done = report.bytes_read / report.total_bytes if report.total_bytes else None
        self._show("reading", num_rows, done, 0.0, READING)

    def selecting(self, what: str, num_rows: int) -> None:
        """To be called before every step between reading and writing."""
        self._show(what, num_rows, 0.0, READING, SELECTING)

    def writing(self, num_done: int, num_rows: int) -> None:
        """To be called after every group of rows written."""
        begin = READING + SELECTING
        self._show("writing", num_done, num_done / max(1, num_rows), begin, 1 - begin)

    def close(self) -> None:
        """Clears the progress line of the terminal."""
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
