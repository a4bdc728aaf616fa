"""MovieLens-100K: its folder, and where to get it."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import queue
import shutil
import threading
import urllib.request
import zipfile
from pathlib import Path

import pyarrow as pa

from data_pipeline.errors import UserError
from data_pipeline.ratings import Ratings, fingerprint_of_files, read_ml_100k_table

ML_100K_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
# SHA-256 of the archive as GroupLens publishes it (unchanged since 1998).
ML_100K_SHA256 = "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
CONNECT_TIMEOUT_SECS = 5
DOWNLOAD_TIMEOUT_SECS = 120

# The flags of u.item, in the order of u.genre.
GENRES = [
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War"),
    "Western",
]


def is_ml_100k_folder(path: Path) -> bool:
    """Whether the folder holds `u.data`."""
    return (path / "u.data").is_file()


def read_ml_100k_folder(folder: Path) -> Ratings:
    """Reads `u.data` and, where they are there, the titles of `u.item` and the people of `u.user`."""
    paths = [folder / name for name in ("u.data", "u.item", "u.user") if (folder / name).is_file()]
    return Ratings(
        table=read_ml_100k_table(folder / "u.data"),
        name=folder.resolve().name,
        fingerprint=fingerprint_of_files(paths),
        users=_read_users(folder / "u.user"),
        items=_read_items(folder / "u.item"),
    )


def read_predefined_pair(folder: Path, name: str) -> tuple[Ratings, Ratings]:
    """Reads one of the folder's own splits, such as `u1.base` and `u1.test`, as (train, test)."""
    pair = [folder / f"{name}.base", folder / f"{name}.test"]
    for path in pair:
        if not path.is_file():
            raise UserError(f"data.split {name!r} needs the file {path}, which is missing")
    train = Ratings(
        table=read_ml_100k_table(pair[0]),
        name=f"{folder.resolve().name}-{name}",
        fingerprint=fingerprint_of_files(pair),
        users=_read_users(folder / "u.user"),
        items=_read_items(folder / "u.item"),
    )
    return train, dataclasses.replace(train, table=read_ml_100k_table(pair[1]))


def cache_folder() -> Path:
    """Where a downloaded MovieLens-100K is kept: `$XDG_CACHE_HOME/reeltrain/ml-100k`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reeltrain" / "ml-100k"


def download_ml_100k(url: str = ML_100K_URL, sha256: str = ML_100K_SHA256) -> Path:
    """Downloads the archive, verifies its checksum and unpacks it into the cache.

    Raises:
        OSError: no answer within 5 s, not whole within 120 s, or another checksum; nothing is left behind.
    """
    folder = cache_folder()
    if is_ml_100k_folder(folder):
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
        if not is_ml_100k_folder(folder):  # else another process was first
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _fetch(url: str) -> bytes:
    """The bytes behind the address. In a thread: a stalled name server is outside of any socket's timeout."""
    connected = threading.Event()
    result: queue.Queue[bytes | Exception] = queue.Queue()

    def fetch() -> None:
        try:
            with urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_SECS) as response:
                connected.set()
                result.put(response.read())
        except Exception as error:  # handed to the caller's thread below
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


def _read_items(path: Path) -> pa.Table | None:
    rows = _read_bar_separated(path, num_fields=5 + len(GENRES), numbers=["item id"])
    if rows is None:
        return None
    return pa.table(
        {
            "item_id": pa.array([int(row[0]) for row in rows], pa.int64()),
            "title": [row[1] for row in rows],
            "release_date": [row[2] for row in rows],
            "genres": [
                "|".join(genre for genre, flag in zip(GENRES, row[5:], strict=True) if flag == "1")
                for row in rows
            ],
        }
    )


def _read_users(path: Path) -> pa.Table | None:
    rows = _read_bar_separated(path, num_fields=5, numbers=["user id", "age"])
    if rows is None:
        return None
    return pa.table(
        {
            "user_id": pa.array([int(row[0]) for row in rows], pa.int64()),
            "age": pa.array([int(row[1]) for row in rows], pa.int32()),
            "gender": [row[2] for row in rows],
            "occupation": [row[3] for row in rows],
            "zip_code": [row[4] for row in rows],
        }
    )


def _read_bar_separated(path: Path, *, num_fields: int, numbers: list[str]) -> list[list[str]] | None:
    """The rows of a latin-1 file such as `u.item`, or None where there is no such file.

    Args:
        numbers: names of the first fields, which are whole numbers.
    """
    if not path.is_file():
        return None
    rows = []
    with path.open(encoding="latin-1") as file:
        for number, line in enumerate(file, start=1):
            line = line.rstrip("\n")
            fields = line.split("|")
            if not line:
                continue
            if len(fields) != num_fields:
                rule = f"a row has {num_fields} fields with | between, got {len(fields)}"
                raise UserError(f"{path}:{number}: {rule}: {line[:200]!r}")
            for name, text in zip(numbers, fields, strict=False):
                if not _is_whole_number(text):
                    rule = f"{name} must be a whole number below 10^9, got {text!r}"
                    raise UserError(f"{path}:{number}: {rule}: {line[:200]!r}")
            rows.append(fields)
    return rows


def _is_whole_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= 9
