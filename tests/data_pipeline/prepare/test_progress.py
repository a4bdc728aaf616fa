"""The progress of preparing, on a terminal."""

import io
import sys

from data_pipeline.parsing.chunks import ReadReport
from data_pipeline.prepare import progress
from data_pipeline.prepare.progress import PrepareProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_bar_that_is_removed_at_the_end(monkeypatch):
    monkeypatch.setattr(progress, "SILENT_SECS", 0.0)
    monkeypatch.setattr(progress, "TERMINAL_EVERY_SECS", 0.0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = PrepareProgress()
    shown.reading(ReadReport(bytes_read=50, total_bytes=100), 1000)
    shown.writing(1000, 1000)
    text = terminal.getvalue()
    assert "prepare   reading: 1,000 rows, " in text
    assert "prepare   writing: 1,000 rows, " in text
    assert text.count(" s left") == 2
    shown.close()
    assert terminal.getvalue().endswith("\x1b[1A\x1b[2K")  # up to the bar's line, which is erased
    assert sys.stderr is terminal


def test_short_work_and_quiet_work_show_nothing(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = PrepareProgress()
    shown.writing(1, 2)
    shown.close()
    monkeypatch.setattr(progress, "SILENT_SECS", 0.0)
    shown = PrepareProgress(quiet=True)
    shown.writing(1, 2)
    shown.close()
    assert terminal.getvalue() == ""
