"""Command line arguments that the scripts have in common, and what they require."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import NoReturn

PROJECT = Path(__file__).resolve().parents[2]
DEFAULT_DATA = PROJECT.parent / "shared" / "data" / "ml-100k"


def make_parser(doc: str, *, rounds: int | None = None) -> argparse.ArgumentParser:
    """A parser with DATA, `--quick` and `--json`.

    Args:
        doc: the script's docstring.
        rounds: the default of `--rounds`; None: the script has no `--rounds`.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "data",
        nargs="?",
        type=Path,
        default=DEFAULT_DATA,
        help="folder of MovieLens-100K  [default: ../shared/data/ml-100k next to the project]",
    )
    parser.add_argument("--quick", action="store_true", help="a small size that ends within a minute")
    parser.add_argument("--json", action="store_true", help="also print one JSON object, on the last line")
    if rounds is not None:
        parser.add_argument("--rounds", type=count, default=rounds, help=f"rounds  [default: {rounds}]")
    return parser


def count(text: str) -> int:
    """Argument type: an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def require_ml_100k(data: Path, *names: str) -> None:
    """Ends the script with one line and status 2 unless the folder `data` has all files `names`."""
    if not all((data / name).is_file() for name in names):
        fail(f"DATA must be a folder with {', '.join(names)}, got {data}")


def require_free_disk(folder: Path, num_bytes: int) -> None:
    """Ends the script with one line and status 2 unless the disk of `folder` has `num_bytes` free."""
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        fail(f"needs {num_bytes / 1e9:.1f} GB of disk in {folder.parent}, got {free / 1e9:.1f} GB free")


def fail(message: str) -> NoReturn:
    """Ends the script with one line on stderr and status 2."""
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(2)
