"""SIGTERM and SIGINT as a request to stop: the loop saves a checkpoint at the end of its block, then ends."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from data_pipeline.logs import log


class StopRequest:
    """The signal that asked the run to stop; `signum` is None until there is one."""

    signum: int | None = None


@contextlib.contextmanager
def stop_on_signal(request: StopRequest) -> Iterator[None]:
    """Records the first SIGTERM or SIGINT in `request`; a second one stops the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may set handlers.
        return

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        request.signum = signum
        restore()
        name = signal.Signals(signum).name
        log.warning(f"{name}: saving a checkpoint, then stopping (again: stop at once)")

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        restore()
