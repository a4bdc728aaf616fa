"""Downloads MovieLens-100K from GroupLens into a cache."""

from __future__ import annotations

import hashlib
import io
import os
import queue
import shutil
import threading
import urllib.request
import zipfile
from pathlib import Path

ML_100K_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
# SHA-256 of the archive as GroupLens publishes it (unchanged since 1998).
ML_100K_SHA256 = "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
CONNECT_TIMEOUT_SECS = 5
DOWNLOAD_TIMEOUT_SECS = 120


def cache_folder() -> Path:
    """The cache folder of MovieLens-100K: `$XDG_CACHE_HOME/reeltrain/ml-100k`, default `~/.cache/…`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reeltrain" / "ml-100k"


def download_ml_100k(url: str = ML_100K_URL, sha256: str = ML_100K_SHA256) -> Path:
    """Downloads the archive, verifies its checksum and unpacks it into the cache; returns the folder.

    Raises:
        OSError: no answer within 5 s, not complete within 120 s, or a wrong checksum; nothing is left behind.
    """
    folder = cache_folder()
    if (folder / "u.data").is_file():
        return folder
    content = _fetch(url)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise OSError(f"{url}: SHA-256 must be {sha256}, got {digest}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(partial)
        (partial / "ml-100k").rename(folder)
    except OSError:
        if not (folder / "u.data").is_file():  # otherwise another process finished first
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _fetch(url: str) -> bytes:
    """Downloads a URL. Runs in a thread, because socket timeouts do not cover a stalled name server."""
    connected = threading.Event()
    result: queue.Queue[bytes | Exception] = queue.Queue()

    def fetch() -> None:
        try:
            with urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_SECS) as response:
                connected.set()
                result.put(response.read())
        except Exception as error:  # raised in the calling thread below
            result.put(error)
            connected.set()

    threading.Thread(target=fetch, daemon=True).start()
    if not connected.wait(CONNECT_TIMEOUT_SECS):
        raise OSError(f"no answer within {CONNECT_TIMEOUT_SECS} s")
    try:
        content = result.get(timeout=DOWNLOAD_TIMEOUT_SECS)
    except queue.Empty:
        raise OSError(f"not downloaded within {DOWNLOAD_TIMEOUT_SECS} s") from None
    if isinstance(content, Exception):
        raise OSError(str(content)) from content
    return content
