"""Progress of `recommend --users` on stderr: users done, users/s and time left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from data_pipeline.logs import console, log

if TYPE_CHECKING:
    from rich.status import Status

LINE_EVERY_SECS = 5.0
TERMINAL_EVERY_SECS = 0.2


class UsersProgress:
    """One line that changes on a terminal, otherwise a line in the log now and then."""

    def __init__(self) -> None:
        self._begun = self._shown_at = time.monotonic()
        self._status: Status | None = None

    def show(self, num_done: int, num_users: int) -> None:
        """To be called after every block of users."""
        now = time.monotonic()
        is_terminal = console().is_terminal
        if now - self._shown_at < (TERMINAL_EVERY_SECS if is_terminal else LINE_EVERY_SECS):
            return
        self._shown_at = now
        rate = max(1, num_done) / (now - self._begun)
        left = (num_users - num_done) / rate
        text = f"recommend {num_done:,} of {num_users:,} users, {rate:,.0f} users/s, {left:,.0f} s left"
        if not is_terminal:
            log.info(text)
        elif self._status is None:
            self._status = console().status(text)
            self._status.start()
        else:
            self._status.update(text)

    def close(self) -> None:
        """Removes the line."""
        if self._status:
            self._status.stop()
            self._status = None
