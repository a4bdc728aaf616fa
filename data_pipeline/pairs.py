"""Pairs of ids to predict, from a CSV."""

from __future__ import annotations

from pathlib import Path

from data_pipeline.errors import UserError
from data_pipeline.lines import csv_lines
from data_pipeline.ratings import COLUMN_ALIASES


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """The (user_id, item_id) pairs of a CSV with a header, as written; other columns are passed over.

    Raises:
        UserError: no such file, a header without the two columns, or a row with another number of fields.
    """
    if not path.is_file():
        raise UserError(f"--pairs: no such file: {path}")
    lines = csv_lines(path, ",")
    header = next(lines, None)
    if header is None:
        raise UserError(f"--pairs: {path} needs a header line, got an empty file")
    names = [name.strip().lower() for name in header.fields]
    positions = []
    for column in ("user_id", "item_id"):
        found = [position for position, name in enumerate(names) if name in COLUMN_ALIASES[column]]
        if len(found) != 1:
            raise UserError(
                f"--pairs: {path} needs one column user_id and one item_id, got {header.fields[:10]}"
            )
        positions += found
    pairs = []
    for line in lines:
        if len(line.fields) != len(names):
            rule = f"a row has {len(names)} fields, got {len(line.fields)}"
            raise UserError(f"{path}:{line.number}: {rule}: {line.shown}")
        user_id, item_id = (line.fields[position] for position in positions)
        if not user_id.strip() or not item_id.strip():
            raise UserError(f"{path}:{line.number}: user_id and item_id must not be empty: {line.shown}")
        pairs.append((user_id, item_id))
    return pairs
