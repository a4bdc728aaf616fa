"""Progress of `prepare` on stderr; stdout is only for results."""

from __future__ import annotations

import time

from rich.progress import BarColumn, Progress, TextColumn

from data_pipeline.logs import console, log
from data_pipeline.parsing.chunks import ReadReport

# No progress is shown before this time.
SILENT_SECS = 1.5
LINE_EVERY_SECS = 5.0
TERMINAL_EVERY_SECS = 0.2
# Assumed shares of the time (measured with 20 M rows of CSV); the rest is for writing.
READING, SELECTING = 0.6, 0.2


class PrepareProgress:
    """Shows phase, rows, rows/s and time left: a bar on a terminal, otherwise a line now and then in the log.

    Args:
        quiet: shows nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._begun = time.monotonic()
        self._shown_at = 0.0
        self._is_terminal = console().is_terminal
        self._bar: Progress | None = None

    def reading(self, report: ReadReport, num_rows: int) -> None:
        """To be called after every batch read."""
        done = report.bytes_read / report.total_bytes if report.total_bytes else None
        self._show("reading", num_rows, done, 0.0, READING)

    def selecting(self, phase: str, num_rows: int) -> None:
        """To be called before every step between reading and writing."""
        self._show(phase, num_rows, 0.0, READING, SELECTING)

    def writing(self, num_done: int, num_rows: int) -> None:
        """To be called after every group of rows written."""
        begin = READING + SELECTING
        self._show("writing", num_done, num_done / max(1, num_rows), begin, 1 - begin)

    def close(self) -> None:
        """Removes the bar."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _show(self, phase: str, num_rows: int, done: float | None, begin: float, share: float) -> None:
        now = time.monotonic()
        every = TERMINAL_EVERY_SECS if self._is_terminal else LINE_EVERY_SECS
        took = now - self._begun
        if self._quiet or took < SILENT_SECS or now - self._shown_at < every:
            return
        self._shown_at = now
        text = f"prepare   {phase}: {num_rows:,} rows, {num_rows / took:,.0f} rows/s"
        overall = 0.0 if done is None else begin + share * min(done, 1.0)
        left = f", {took / overall - took:.0f} s left" if overall > 0 else ""
        if self._is_terminal:
            self._update_bar(f"{text}{left}", overall)
        else:
            log.info(f"{text}{left}")

    def _update_bar(self, text: str, overall: float) -> None:
        if self._bar is None:
            # Drawn here, not by a thread of its own, which would compete with the reading threads.
            self._bar = Progress(
                BarColumn(),
                TextColumn("{task.description}", markup=False),
                console=console(),
                transient=True,
                auto_refresh=False,
            )
            self._bar.add_task("", total=1.0)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=overall, description=text, refresh=True)
