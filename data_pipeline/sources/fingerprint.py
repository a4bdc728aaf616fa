"""SHA-256 of what ratings are read from, computed while they are read."""

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
# Set where nobody waits for the fingerprint any more.
_given_up: contextvars.ContextVar[Event] = contextvars.ContextVar("_given_up")


@contextlib.contextmanager
def computed_beside(compute: Callable[[], str]) -> Iterator[Future[str]]:
    """The fingerprint that a thread computes while the block runs.

    If the block ends first, by an error or Ctrl-C, it is given up: hashing what is huge takes minutes.
    """
    given_up = Event()
    context = contextvars.copy_context()
    context.run(_given_up.set, given_up)
    with ThreadPoolExecutor(1, "fingerprint") as thread:
        try:
            yield thread.submit(context.run, compute)
        finally:
            given_up.set()


def fingerprint_of_files(paths: Sequence[Path]) -> str:
    """SHA-256 over names, sizes and the SHA-256 of each piece of 64 MiB, which are computed in threads."""
    given_up = _given_up.get(Event())
    pieces = [(path, start) for path in paths for start in range(0, path.stat().st_size or 1, _HASHED_BYTES)]
    digest = hashlib.sha256()
    with ThreadPoolExecutor(4, "hash") as threads:
        hashed = threads.map(lambda piece: _hash_piece(piece[0], piece[1], given_up), pieces)
        for (path, start), piece in zip(pieces, hashed, strict=True):
            if not start:
                digest.update(f"{path.name}\0{path.stat().st_size}\0".encode(errors="surrogateescape"))
            digest.update(piece)
    return digest.hexdigest()


def fingerprint_of_batches(batches: Iterable[pa.RecordBatch]) -> str:
    """SHA-256 over all batches."""
    given_up = _given_up.get(Event())
    digest = hashlib.sha256()
    for batch in batches:
        if given_up.is_set():
            raise CancelledError
        digest.update(str(batch.schema).encode())
        digest.update(batch.serialize())
    return digest.hexdigest()


def _hash_piece(path: Path, start: int, given_up: Event) -> bytes:
    digest, left = hashlib.sha256(), _HASHED_BYTES
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (content := file.read(min(left, _PIECE_BYTES))):
            if given_up.is_set():
                raise CancelledError
            digest.update(content)
            left -= len(content)
    return digest.digest()
