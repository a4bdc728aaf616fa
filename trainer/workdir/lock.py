"""One run in a workdir at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from data_pipeline.errors import UserError
from data_pipeline.logs import log


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder/.lock`, which contains pid and host; makes the folder, and removes it if it stays empty.

    The kernel releases the lock when the process ends, for whatever reason.

    Raises:
        UserError: another run holds it, or the folder cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _lock(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE):
            raise
        raise UserError(f"{folder}: the workdir must be writable, got: {error.strerror}") from None
    try:
        os.truncate(file, 0)
        os.write(file, f"{os.getpid()} {socket.gethostname()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held, so that another run's lock is never removed
        os.close(file)
        with contextlib.suppress(OSError):
            for each in made:
                each.rmdir()


def _lock(path: Path) -> int:
    """The locked file, checked to be the one at `path`: its previous holder removes it on leaving."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, host = os.read(file, 300).decode(errors="replace").strip().partition(" ")
            os.close(file)
            raise UserError(
                f"{path.parent}: only one run at a time may train in a workdir, got a second: "
                f"process {pid or '?'} on {host or '?'} holds {path.name}"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                os.close(file)
                raise
            log.warning(
                f"warning   {path.parent}: this file system has no locks; make sure that no other run uses it"
            )
            return file
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            return file
        os.close(file)
