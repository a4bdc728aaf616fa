"""Reads (user, item) pairs to predict from a CSV."""

from __future__ import annotations

from pathlib import Path

from data_pipeline.errors import UserError
from data_pipeline.parsing.column_names import COLUMN_ALIASES
from data_pipeline.parsing.lines import CSV, Line
from data_pipeline.parsing.text_file import TextFile, read_header


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """The (user_id, item_id) pairs of a CSV with a header, as strings; other columns are ignored.

    Raises:
        UserError: no such file, a header without the two columns, or a row with another number of fields.
    """
    if not path.is_file():
        raise UserError(f"--pairs: no such file: {path}")
    if not path.stat().st_size:
        raise UserError(f"--pairs: {path} needs a header line, got an empty file")
    header = read_header(path, CSV)
    names = [name.strip().lower() for name in header.names]
    positions = {}
    for column in ("user_id", "item_id"):
        matches = [position for position, name in enumerate(names) if name in COLUMN_ALIASES[column]]
        if len(matches) != 1:
            raise UserError(
                f"--pairs: {path} needs one column user_id and one item_id, got {header.names[:10]}"
            )
        positions[column] = matches[0]
    file = TextFile(path, CSV, positions, len(names), header.end)
    pairs: list[tuple[str, str]] = []
    for block in file.blocks():
        text = file.text_columns(block)
        read = list(zip(text["user_id"].to_pylist(), text["item_id"].to_pylist(), strict=True))
        for row, (user_id, item_id) in enumerate(read):
            if not user_id.strip() or not item_id.strip():
                raise UserError(file.describe_rows(block, [row], _fault)[0])
        pairs += read
    return pairs


def _fault(line: Line) -> str:
    return f"user_id and item_id must not be empty: {line.shown}"
