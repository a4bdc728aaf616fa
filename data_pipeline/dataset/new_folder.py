"""A new folder, whole or not there: made in a hidden one beside it, which is renamed when it is complete."""

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
    """Refuses a path that a new folder could not take without harm; what a killed process left is no harm."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: the output folder must be new or empty, got a file")
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise UserError(f"{path}: the output folder must lie in a folder, got the file {parent}")
    if path.is_dir():
        partial = path / _partial_name(path.resolve())
        left = {partial.name} | ({*_marked(partial)} if partial.is_dir() else set())
        if any(entry.name not in left for entry in path.iterdir()):
            raise UserError(f"{path}: the output folder must be new or empty, got one with files in it")


@contextlib.contextmanager
def new_folder(path: Path, *, last: str) -> Iterator[Path]:
    """A folder to write into, which becomes `path` at the end of the block, or leaves nothing behind.

    A process that is killed leaves a hidden folder, `.<name>.partial`, which the next one for the same `path`
    clears: the kernel's lock on it ends with its process.

    Args:
        path: new, or an empty folder, which is filled: it may be a mount point or a working directory.
        last: the file without which the others mean nothing; moved in after them.

    Raises:
        UserError: `path` is not empty, or another process is writing it.
        OSError: the disk is full, in words.
    """
    require_empty(path)
    target = path.resolve()
    existed = target.is_dir()
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        with _scratch((target if existed else target.parent) / _partial_name(target), path) as partial:
            if existed:
                _clear_half_filled(partial, target)
                require_empty(path)
            with _told_when_full(path):
                yield partial
                if existed:
                    names = sorted(entry.name for entry in partial.iterdir() if entry.name != last)
                    (partial / _MARK).write_text("\n".join([*names, last]))
                    _sync(partial)
                    for name in [*names, last]:
                        (partial / name).rename(target / name)
                    _sync_entries(target)
                    (partial / _MARK).unlink()
                else:
                    require_empty(path)
                    _sync(partial)
                    partial.rename(target)
                    _sync_entries(target.parent)
    except BaseException:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of the folder `path` at the end of the block, at once.

    The two are exchanged by one system call, so that at no moment `path` is missing or a mixture.

    Raises:
        UserError: another process is writing it, or the system cannot exchange folders.
        OSError: the disk is full, in words.
    """
    target = path.resolve()
    with (
        _scratch(target.parent / _partial_name(target), path) as partial,
        _told_when_full(path),
    ):
        yield partial
        _sync(partial)
        # Locked like the new one: after the exchange it has the name that another process would clear.
        old = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(old, fcntl.LOCK_EX)
            _exchange(partial, target)
            _sync_entries(target.parent)
            shutil.rmtree(partial, ignore_errors=True)
        finally:
            os.close(old)


# In a folder that existed before: the names of the files that are being moved into it.
_MARK = ".moving"


def _partial_name(target: Path) -> str:
    return f".{target.name}.partial"


@contextlib.contextmanager
def _scratch(partial: Path, path: Path) -> Iterator[Path]:
    """The hidden folder, emptied, locked while the block runs, removed if it is there at its end."""
    lock = _locked(partial, path)
    try:
        if not (partial / _MARK).exists():  # else its remains tell what is to be cleared elsewhere
            _empty(partial)
        yield partial
    finally:
        if _is_at(lock, partial):  # else it was renamed, and what is there now is somebody else's
            shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def _locked(partial: Path, path: Path) -> int:
    """The open folder, locked, and still the one of this name."""
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
    """Whether the open folder is the one of this name."""
    try:
        return os.path.samestat(os.fstat(folder), path.stat())
    except FileNotFoundError:
        return False


def _marked(partial: Path) -> list[str]:
    mark = partial / _MARK
    return mark.read_text().splitlines() if mark.is_file() else []


def _clear_half_filled(partial: Path, target: Path) -> None:
    """Removes what a process killed while it moved its files had moved already."""
    for name in _marked(partial):
        (target / name).unlink(missing_ok=True)
    _empty(partial)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _sync(folder: Path) -> None:
    """What is in the folder is on the disk: after a power loss it is not one with files of no content."""
    for entry in folder.iterdir():
        if entry.is_file():
            with entry.open("rb") as file:
                os.fsync(file.fileno())
    _sync_entries(folder)


def _sync_entries(folder: Path) -> None:
    """The names in the folder are on the disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(opened)


@contextlib.contextmanager
def _told_when_full(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            reason = f"no room on the disk ({os.strerror(error.errno)}), nothing was written"
            raise OSError(error.errno, reason, str(path)) from error
        raise


def _exchange(one: Path, other: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise UserError(f"{other}: this system cannot exchange folders; prepare all ratings into a new one")
    paths = os.fsencode(one), os.fsencode(other)
    if library.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE):
        reason = os.strerror(ctypes.get_errno())
        raise UserError(
            f"{other}: cannot be exchanged for its successor ({reason}); prepare into a new folder"
        )
