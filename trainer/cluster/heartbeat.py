"""Ends a worker when another one died, and names that one; no supervisor is needed.

TensorFlow notices a lost worker only inside a collective, and its error does not name the first one lost. So
every worker touches its own file in the shared workdir once a second and watches the files of the others.
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
# Longer than any code here holds Python's interpreter lock (compiling and computing release it), and within
# the documented 30 s. TensorFlow's own heartbeat gives up after 10 s.
SILENT_BEATS = 20
# Raised by TensorFlow in the surviving workers, which then wait until they know which worker is lost.
CONNECTION_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
    tf.errors.AbortedError,
)
VERDICT_SECS = (SILENT_BEATS + 5) * BEAT_SECS
_ENDED = b"ended\n"


def watch_peers(workdir: Path, *, worker: int) -> contextlib.AbstractContextManager:
    """Starts to watch the other workers of TF_CONFIG; the returned context manager ends the watch.

    Call it once the strategy exists, so that all workers are running. If a worker is silent for
    `SILENT_BEATS`, this process ends with status 1 and one line; a worker that ended without an exception is
    not missed. Silence is counted in checks, so that a suspended machine reports no one when it wakes.

    Raises:
        OSError: the workdir cannot be written.
    """
    cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
    addresses = [*cluster.get("chief", []), *cluster.get("worker", [])]
    if len(addresses) < 2:
        return contextlib.nullcontext()
    return Heartbeat(workdir / ".alive", worker=worker, addresses=addresses)


class Heartbeat(contextlib.AbstractContextManager):
    """Watches in a thread, because the main thread may be stuck in a collective.

    Args:
        folder: shared by all workers; created here.
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
        atexit.register(self._leave, ended=False)  # for a process that fails before it enters `with`

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, CONNECTION_ERRORS):
            self._thread.join(VERDICT_SECS)  # it ends the process
        self._leave(ended=error is None)

    def _watch(self) -> None:
        while not self._left.wait(BEAT_SECS):
            with contextlib.suppress(OSError):  # a full disk is reported by the next save
                os.utime(self._own)
            lost = self._look()
            if lost is not None:
                # Not logged: the process ends here, and the reason must be seen.
                print(
                    f"reeltrain: worker {lost} ({self._addresses[lost]}) stopped responding; this worker "
                    "ends, the same command continues from the newest checkpoint",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(1)

    def _look(self) -> int | None:
        """Checks all workers once; returns the one that has been silent longest if that is too long."""
        for i, path in self._others.items():
            before, self._stamps[i] = self._stamps[i], _stamp(path)
            is_well = self._stamps[i] != before or _has_ended(self._stamps[i])
            self._silent_beats[i] = 0 if is_well else self._silent_beats[i] + 1
        quietest = max(self._silent_beats, key=self._silent_beats.__getitem__)
        return quietest if self._silent_beats[quietest] >= SILENT_BEATS else None

    def _leave(self, *, ended: bool) -> None:
        """Stops watching. After a failure the heartbeat file is removed, so that the others notice."""
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
    """(time of the last touch, bytes), only for comparison: clocks differ. None if there is no file."""
    try:
        with path.open("rb") as file:  # opened, because a network file system remembers a closed file's times
            status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _has_ended(stamp: tuple[int, int] | None) -> bool:
    return stamp is not None and stamp[1] > 0
