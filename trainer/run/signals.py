"""SIGTERM and SIGINT as a request to stop: the loop saves a checkpoint at the end of its block, then ends.

Python runs signal handlers between two steps of the main thread's Python code. While TensorFlow compiles or
waits for another worker, that may take minutes. So a thread learns of each signal at once, says what happens,
and ends the process if the main thread should end but does not get to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from data_pipeline.logs import log

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Time for the main thread to end by itself, which cleans up, before the process is ended.
GRACE_SECS = 1.0
LOOK_SECS = 0.2
ctypes.pythonapi.PyOS_getsig.restype = ctypes.c_void_p
ctypes.pythonapi.PyOS_setsig.restype = ctypes.c_void_p


class StopRequest:
    """The signal that asked the run to stop.

    Attributes:
        signum: None until there is one.
        at_once: why the next signal ends the run without saving; None while there are steps to save.
    """

    signum: int | None = None
    at_once: str | None = "nothing to save yet"


@contextlib.contextmanager
def stop_on_signal(request: StopRequest) -> Iterator[None]:
    """Records the first SIGTERM or SIGINT in `request`, if there is anything to save; otherwise, and at the
    second one, the process ends at once: by KeyboardInterrupt or SystemExit, or for good where the main
    thread is in a call that takes longer than `GRACE_SECS`. A notebook's process is never ended by SIGINT.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may set handlers.
        return
    watcher = _Watcher(request)
    try:
        yield
    except BaseException as error:
        # TensorFlow's tracing turns an exception of a signal into one of its own.
        if watcher.raised is not None and error is not watcher.raised:
            raise watcher.raised from None
        raise
    finally:
        watcher.close()


class _Watcher:
    """Sets the handlers; `close` puts everything back."""

    def __init__(self, request: StopRequest) -> None:
        self._request = request
        self._received = 0
        self.raised: BaseException | None = None
        self._is_ending = threading.Event()
        self._lock = threading.RLock()
        self._python: dict[signal.Signals, int] = {}
        self._reader, writer = os.pipe()
        self._writer = writer
        os.set_blocking(writer, False)
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()
        self._previous = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        self._python = {number: ctypes.pythonapi.PyOS_getsig(number) for number in SIGNALS}
        self._previous_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def _keep_handlers(self) -> None:
        """Takes SIGTERM back from TensorFlow's server of several workers, which sets a handler in C."""
        with self._lock:
            if not self._is_ending.is_set() and self._python:
                for number, handler in self._python.items():
                    if ctypes.pythonapi.PyOS_getsig(number) != handler:
                        ctypes.pythonapi.PyOS_setsig(number, ctypes.c_void_p(handler))

    def close(self) -> None:
        self._is_ending.set()
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self._writer)  # ends the thread
        self._thread.join()
        os.close(self._reader)
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        with self._lock:
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        """In the main thread, as soon as it runs Python."""
        self._received += 1
        if self._received == 1 and self._request.at_once is None:
            self._request.signum = signum
            return
        self._is_ending.set()
        self._restore_handlers()
        self._request.signum = signum  # should the exception get lost, the loop stops
        previous = self._previous[signal.Signals(signum)]
        try:
            if callable(previous):
                previous(signum, frame)
            sys.exit(128 + signum)
        except BaseException as error:
            self.raised = error
            raise

    def _watch(self) -> None:
        """In a thread: one byte per signal, at once."""
        first: int | None = None
        while True:
            while not select.select([self._reader], [], [], LOOK_SECS)[0]:
                self._keep_handlers()
            byte = os.read(self._reader, 1)
            if not byte:
                return
            if self._previous_fd != -1:
                with contextlib.suppress(OSError):
                    os.write(self._previous_fd, byte)
            if byte[0] not in SIGNALS:
                continue
            name, why = signal.Signals(byte[0]).name, self._request.at_once
            if first is None and why is None:
                log.warning(f"{name}: saving a checkpoint, then stopping (again: stop at once)")
                self._request.signum = byte[0]
            else:
                log.warning(f"{name}: stopping at once{f', {why}' if why else ''}")
                if byte[0] == signal.SIGTERM or not _is_interactive():
                    self._is_ending.wait(GRACE_SECS)
                    if not self._is_ending.is_set():
                        _end_process(byte[0])
            first = byte[0]


def _is_interactive() -> bool:
    """Whether this is a notebook or a shell, where Ctrl-C must not lose what is in memory."""
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules


def _end_process(signum: int) -> NoReturn:
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")  # a progress display hides the cursor
    sys.stderr.flush()
    os._exit(128 + signum)
