"""SHA-256 of a source, computed in the background while the ratings are read."""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pyarrow as pa

_HASHED_BYTES = 64 << 20
_PIECE_BYTES = 1 << 20
# Set when the fingerprint is no longer needed.
_cancelled: contextvars.ContextVar[Event] = contextvars.ContextVar("_cancelled")


@contextlib.contextmanager
def computed_in_background(compute: Callable[[], str]) -> Iterator[Future[str]]:
    """Computes the fingerprint in a thread while the block runs; yields its future.

    If the block ends first, by an error or Ctrl-C, hashing is cancelled, since it may take minutes.
    """
    cancelled = Event()
    context = contextvars.copy_context()
    context.run(_cancelled.set, cancelled)
    with ThreadPoolExecutor(1, "fingerprint") as thread:
        try:
            yield thread.submit(context.run, compute)
        finally:
            cancelled.set()


def fingerprint_of_files(paths: Sequence[Path]) -> str:
    """SHA-256 of the names, sizes and 64-MiB pieces of files; the pieces are hashed in threads."""
    cancelled = _cancelled.get(Event())
    pieces = [(path, start) for path in paths for start in range(0, path.stat().st_size or 1, _HASHED_BYTES)]
    digest = hashlib.sha256()
    with ThreadPoolExecutor(4, "hash") as threads:
        hashed = threads.map(lambda piece: _hash_piece(piece[0], piece[1], cancelled), pieces)
        for (path, start), piece in zip(pieces, hashed, strict=True):
            if not start:
                digest.update(f"{path.name}\0{path.stat().st_size}\0".encode(errors="surrogateescape"))
            digest.update(piece)
    return digest.hexdigest()


def fingerprint_of_batches(batches: Iterable[pa.RecordBatch]) -> str:
    """SHA-256 of the schema and content of all batches."""
    cancelled = _cancelled.get(Event())
    digest = hashlib.sha256()
    for batch in batches:
        if cancelled.is_set():
            raise CancelledError
        digest.update(str(batch.schema).encode())
        digest.update(batch.serialize())
    return digest.hexdigest()


def _hash_piece(path: Path, start: int, cancelled: Event) -> bytes:
    digest, left = hashlib.sha256(), _HASHED_BYTES
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (content := file.read(min(left, _PIECE_BYTES))):
            if cancelled.is_set():
                raise CancelledError
            digest.update(content)
            left -= len(content)
    return digest.digest()
