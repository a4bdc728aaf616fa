"""SIGTERM and SIGINT as a wish to stop: the loop saves at the end of its block, then leaves."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """Which signal asked the run to stop; `signum` is None as long as none did."""

    signum: int | None = None


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Catches the first SIGTERM or SIGINT; the second acts as usual, for those in a hurry."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # Only the main thread may set handlers.
        return

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        request.signum = signum
        restore()
        name = signal.Signals(signum).name
        print(
            f"{name}: saving a checkpoint, then stopping (again: stop at once)", file=sys.stderr, flush=True
        )

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        restore()
