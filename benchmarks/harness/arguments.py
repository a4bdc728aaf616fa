"""The arguments that the scripts have in common."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DEFAULT_DATA = PROJECT.parent / "shared" / "data" / "ml-100k"


def make_parser(doc: str, *, rounds: int | None = None) -> argparse.ArgumentParser:
    """A parser with DATA, `--quick` and `--json`; `doc` is the script's docstring.

    Args:
        rounds: by default, of a script that takes `--rounds`.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "data",
        nargs="?",
        type=Path,
        default=DEFAULT_DATA,
        help="folder of MovieLens-100K  [default: ../shared/data/ml-100k beside the project]",
    )
    parser.add_argument("--quick", action="store_true", help="a small size that ends within a minute")
    parser.add_argument("--json", action="store_true", help="also print one JSON object, on the last line")
    if rounds is not None:
        parser.add_argument("--rounds", type=count, default=rounds, help=f"of every way  [default: {rounds}]")
    return parser


def count(text: str) -> int:
    """An argument's type: an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def require_ml_100k(data: Path, *names: str) -> None:
    """Ends the script with one line and status 2 unless the folder `data` has all files `names`."""
    missing = [name for name in names if not (data / name).is_file()]
    if missing:
        script = Path(sys.argv[0]).name
        print(f"{script}: DATA must be a folder with {', '.join(names)}, got {data}", file=sys.stderr)
        sys.exit(2)
