"""Ends a worker when another one died, with that one's name; nobody needs to watch from outside.

TensorFlow notices a lost worker only inside a collective, and its error does not say which was lost first. So
every worker touches a file of its own in the shared workdir, once a second, and looks at those of the others.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
import threading
from pathlib import Path
from types import TracebackType

import tensorflow as tf

BEAT_SECS = 1.0
# Longer than anything here keeps Python's interpreter to itself (compiling and computing do not), and within
# the promised 30 s. TensorFlow's own heartbeat gives up after 10 s.
SILENT_BEATS = 20
# What TensorFlow raises at the survivors; they then wait until they know whose silence it was.
CONNECTION_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
    tf.errors.AbortedError,
)
VERDICT_SECS = (SILENT_BEATS + 5) * BEAT_SECS
_ENDED = b"ended\n"


def watch_peers(workdir: Path, *, worker: int) -> contextlib.AbstractContextManager:
    """Starts to watch the other workers of TF_CONFIG; what it returns closes the watch when it is left.

    Call it once the strategy stands, so that all workers are there. A worker that is silent for
    `SILENT_BEATS` ends this process with status 1 and one line; one that left without an exception is not
    missed. Silence is counted in looks, so that a machine that was suspended blames nobody when it wakes.

    Raises:
        OSError: the workdir cannot be written.
    """
    cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
    addresses = [*cluster.get("chief", []), *cluster.get("worker", [])]
    if len(addresses) < 2:
        return contextlib.nullcontext()
    return Heartbeat(workdir / ".alive", worker=worker, addresses=addresses)


class Heartbeat(contextlib.AbstractContextManager):
    """The watch: a thread, because the main one may be stuck in a collective.

    Args:
        folder: shared by all workers; made here.
        worker: which of `addresses` this process is.
        addresses: host:port of every worker, the chief first.
    """

    def __init__(self, folder: Path, *, worker: int, addresses: list[str]) -> None:
        self._folder = folder
        self._own = folder / f"worker-{worker}"
        self._addresses = addresses
        self._others = {i: folder / f"worker-{i}" for i in range(len(addresses)) if i != worker}
        self._stamps = {i: _stamp(path) for i, path in self._others.items()}
        self._silent_beats = dict.fromkeys(self._others, 0)
        folder.mkdir(parents=True, exist_ok=True)
        self._own.write_bytes(b"")
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)
        self._thread.start()
        atexit.register(self._leave, ended=False)  # of a process that failed before it came to `with`

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, CONNECTION_ERRORS):
            self._thread.join(VERDICT_SECS)  # it ends the process
        self._leave(ended=error is None)

    def _watch(self) -> None:
        while not self._left.wait(BEAT_SECS):
            with contextlib.suppress(OSError):  # a full disk is told by what must be saved
                os.utime(self._own)
            lost = self._look()
            if lost is not None:
                print(
                    f"reeltrain: worker {lost} ({self._addresses[lost]}) does not answer any more; this one "
                    "ends, the same command continues from the newest checkpoint",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(1)

    def _look(self) -> int | None:
        """Looks at all once; the worker that has been silent longest if that is too long."""
        for i, path in self._others.items():
            before, self._stamps[i] = self._stamps[i], _stamp(path)
            is_well = self._stamps[i] != before or _has_ended(self._stamps[i])
            self._silent_beats[i] = 0 if is_well else self._silent_beats[i] + 1
        quietest = max(self._silent_beats, key=self._silent_beats.__getitem__)
        return quietest if self._silent_beats[quietest] >= SILENT_BEATS else None

    def _leave(self, *, ended: bool) -> None:
        """Stops watching. Who has not ended well leaves no file: the others then miss this worker."""
        if self._left.is_set():
            return
        self._left.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if ended:
                self._own.write_bytes(_ENDED)
            else:
                self._own.unlink()
                self._folder.rmdir()


def _stamp(path: Path) -> tuple[int, int] | None:
    """(time of the last touch, bytes), only to be compared: clocks differ. None where there is no file."""
    try:
        with path.open("rb") as file:  # opened, because a network file system remembers a closed file's times
            status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _has_ended(stamp: tuple[int, int] | None) -> bool:
    return stamp is not None and stamp[1] > 0
