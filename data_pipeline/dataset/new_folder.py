"""Creates or replaces a folder atomically: writes into a hidden folder and renames it when complete."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from data_pipeline.errors import UserError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def require_empty(path: Path) -> None:
    """Raises UserError unless the path is free or an empty folder; ignores remains of a killed process."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: the output folder must be new or empty, got a file")
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise UserError(f"{path}: the output folder must be inside a folder, got the file {parent}")
    if path.is_dir():
        partial = path / _partial_name(path.resolve())
        remains = {partial.name} | ({*_names_being_moved(partial)} if partial.is_dir() else set())
        if any(entry.name not in remains for entry in path.iterdir()):
            raise UserError(f"{path}: the output folder must be new or empty, got a folder with files in it")


@contextlib.contextmanager
def new_folder(path: Path, *, last: str) -> Iterator[Path]:
    """Yields a folder to write into. It becomes `path` when the block ends; after an error nothing is left.

    A killed process leaves the hidden folder `.<name>.partial`. The next process for the same `path` clears
    it: the kernel released the dead process's lock.

    Args:
        path: a new folder, or an existing empty one, which is filled in place because it may be a mount point
            or a working directory.
        last: the file that makes the folder valid, such as a manifest; it is moved in last.

    Raises:
        UserError: `path` is not empty, or another process is writing it.
        OSError: the disk is full; the message says so.
    """
    require_empty(path)
    target = path.resolve()
    is_existing = target.is_dir()
    new_parents = [parent for parent in target.parents if not parent.exists()]
    try:
        with _locked_scratch_folder(
            (target if is_existing else target.parent) / _partial_name(target), path
        ) as partial:
            if is_existing:
                _remove_half_moved(partial, target)
                require_empty(path)
            with _reporting_full_disk(path):
                yield partial
                if is_existing:
                    names = sorted(entry.name for entry in partial.iterdir() if entry.name != last)
                    (partial / _MOVE_LIST).write_text("\n".join([*names, last]))
                    _sync(partial)
                    for name in [*names, last]:
                        (partial / name).rename(target / name)
                    _sync_entries(target)
                    (partial / _MOVE_LIST).unlink()
                else:
                    require_empty(path)
                    _sync(partial)
                    partial.rename(target)
                    _sync_entries(target.parent)
    except BaseException:
        for parent in new_parents:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yields a folder to write into. It atomically replaces the existing folder `path` when the block ends.

    One system call exchanges the two folders, so `path` is never missing or partly replaced.

    Raises:
        UserError: another process is writing it, or the system cannot exchange folders.
        OSError: the disk is full; the message says so.
    """
    target = path.resolve()
    with (
        _locked_scratch_folder(target.parent / _partial_name(target), path) as partial,
        _reporting_full_disk(path),
    ):
        yield partial
        _sync(partial)
        # After the exchange the old folder has the hidden name, which another process would clear.
        old_folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(old_folder, fcntl.LOCK_EX)
            _exchange(partial, target)
            _sync_entries(target.parent)
            shutil.rmtree(partial, ignore_errors=True)
        finally:
            os.close(old_folder)


# In the hidden folder: lists the files that are being moved into an existing empty folder.
_MOVE_LIST = ".moving"


def _partial_name(target: Path) -> str:
    return f".{target.name}.partial"


@contextlib.contextmanager
def _locked_scratch_folder(partial: Path, path: Path) -> Iterator[Path]:
    """Creates or empties the hidden folder, locks it during the block, removes it unless it was renamed."""
    lock = _open_locked(partial, path)
    try:
        if not (partial / _MOVE_LIST).exists():  # else the list is needed to undo the moves
            _empty(partial)
        yield partial
    finally:
        if _is_at(lock, partial):  # else it was renamed; a folder of this name belongs to another process
            shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def _open_locked(partial: Path, path: Path) -> int:
    """Opens and locks the folder; retries if it was renamed or removed meanwhile."""
    while True:
        partial.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise UserError(f"{path}: another process is writing this folder") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EBADF, errno.EINVAL):
                os.close(lock)
                raise
        if _is_at(lock, partial):
            return lock
        os.close(lock)


def _is_at(folder: int, path: Path) -> bool:
    """Whether the open folder is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(folder), path.stat())
    except FileNotFoundError:
        return False


def _names_being_moved(partial: Path) -> list[str]:
    move_list = partial / _MOVE_LIST
    return move_list.read_text().splitlines() if move_list.is_file() else []


def _remove_half_moved(partial: Path, target: Path) -> None:
    """Removes the files that a killed process had already moved into `target`."""
    for name in _names_being_moved(partial):
        (target / name).unlink(missing_ok=True)
    _empty(partial)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _sync(folder: Path) -> None:
    """Flushes all files below a folder and their entries to disk: none is empty after a power loss."""
    for entry in folder.iterdir():
        if entry.is_dir():
            _sync(entry)
        elif entry.is_file():
            with entry.open("rb") as file:
                os.fsync(file.fileno())
    _sync_entries(folder)


def _sync_entries(folder: Path) -> None:
    """Flushes the directory entries of a folder to disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems without directory fsync
            raise
    finally:
        os.close(opened)


@contextlib.contextmanager
def _reporting_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            reason = f"the disk is full ({os.strerror(error.errno)}), nothing was written"
            raise OSError(error.errno, reason, str(path)) from error
        raise


def _exchange(one: Path, other: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise UserError(
            f"{other}: this system cannot exchange folders atomically; prepare all ratings into a new folder"
        )
    paths = os.fsencode(one), os.fsencode(other)
    if library.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE):
        reason = os.strerror(ctypes.get_errno())
        raise UserError(
            f"{other}: cannot be exchanged with its replacement ({reason}); prepare into a new folder"
        )
