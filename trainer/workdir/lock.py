"""One run in a workdir at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from data_pipeline.errors import UserError


@contextlib.contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Holds `folder/.lock`, with pid and host in it; the folder is made, and unmade if it stays empty.

    The kernel holds the lock for the open file, so it ends with the process, however that ends.

    Raises:
        UserError: another run holds it, or the folder cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _lock(path, say)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE):
            raise
        raise UserError(f"{folder}: the workdir must be writable, got: {error.strerror}") from None
    try:
        os.truncate(file, 0)
        os.write(file, f"{os.getpid()} {socket.gethostname()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held, so that no one else's is removed
        os.close(file)
        with contextlib.suppress(OSError):
            for each in made:
                each.rmdir()


def _lock(path: Path, say: Callable[[str], None]) -> int:
    """The open file, locked and still the one of this name: its holder removes it when it leaves."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, host = os.read(file, 300).decode(errors="replace").strip().partition(" ")
            os.close(file)
            raise UserError(
                f"{path.parent}: one run at a time may train in a workdir, got a second: "
                f"process {pid or '?'} on {host or '?'} holds {path.name}"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                os.close(file)
                raise
            say(
                f"warning   {path.parent}: this file system has no locks; take care that no other run uses it"
            )
            return file
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            return file
        os.close(file)
