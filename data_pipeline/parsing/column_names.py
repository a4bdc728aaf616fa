"""Finds the columns of a source, by their usual names or as set by `data.columns`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from data_pipeline import advice
from data_pipeline.errors import UserError, shown

# Accepted header names, lower case, best first.
COLUMN_ALIASES = {
    "user_id": ("user_id", "userid", "user"),
    "item_id": ("item_id", "itemid", "item", "movie_id", "movieid", "movie"),
    "rating": ("rating",),
    "timestamp": ("timestamp", "time"),
    "weight": ("weight",),
}
RATING_COLUMNS = tuple(COLUMN_ALIASES)
REQUIRED_COLUMNS = ("user_id", "item_id", "rating")
# The column names that `--columns` uses.
_OPTION_NAMES = {"user": "user_id", "item": "item_id"} | {name: name for name in RATING_COLUMNS}
_OPTION_OF = {"user_id": "user", "item_id": "item"}


@dataclass(frozen=True)
class ColumnNames:
    """The parsed setting `data.columns`.

    Attributes:
        names: our column -> its name in the source, or its position from 1 in a file without a header line.
        left_out: columns that are not read (`rating=none`).
    """

    names: dict[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> ColumnNames:
        """Reads `user=a,item=b,rating=none`.

        >>> ColumnNames.parse("user=who, rating=none")
        ColumnNames(names={'user_id': 'who'}, left_out=frozenset({'rating'}))
        """
        names: dict[str, str] = {}
        for part in text.split(",") if text.strip() else []:
            option, _, name = (piece.strip() for piece in part.partition("="))
            column = _OPTION_NAMES.get(option)
            if column is None or not name:
                known = ", ".join(f"{option}=COLUMN" for option in ("user", "item", *RATING_COLUMNS[2:]))
                raise UserError(f"data.columns takes {known}, got {shown(part.strip())} in {shown(text)}")
            if column in names:
                raise UserError(f"data.columns must name {option} once, got {shown(text)}")
            names[column] = name
        left_out = frozenset(column for column, name in names.items() if name == "none")
        if left_out & {"user_id", "item_id"}:
            raise UserError(f"data.columns: user and item cannot be none, got {shown(text)}")
        return cls({column: name for column, name in names.items() if column not in left_out}, left_out)

    @property
    def positional(self) -> bool:
        """Whether columns are given by position, which means that the file has no header line."""
        return bool(self.names) and all(name.isdecimal() for name in self.names.values())

    def positions(self, num_columns: int, *, source: str) -> dict[str, int]:
        """Our columns -> positions from 0, for a file without a header line."""
        for column in REQUIRED_COLUMNS:
            if column not in self.names and column not in self.left_out:
                option = _OPTION_OF.get(column, column)
                raise UserError(f"{source}: data.columns with positions needs {option}=POSITION, got none")
        positions = {column: int(self.names[column]) for column in RATING_COLUMNS if column in self.names}
        for column, position in positions.items():
            if not 1 <= position <= num_columns:
                rule = f"the position of {column} must be within 1 and {num_columns}"
                raise UserError(f"{source}: {rule}, got {position}")
        self._require_distinct_positions(positions, source=source)
        return {column: position - 1 for column, position in positions.items()}

    def match(self, header: Sequence[str], *, source: str) -> dict[str, int]:
        """Our columns -> positions in the header, for the columns that are present."""
        columns: dict[str, int] = {}
        for column in RATING_COLUMNS:
            if column in self.left_out:
                continue
            position = self._find_position(column, header, source=source)
            if position is not None:
                columns[column] = position
            elif column in REQUIRED_COLUMNS:
                raise UserError(f"{source}: {_missing(column)}, got {shown(list(header))}")
        self._require_distinct_positions(columns, source=source)
        return columns

    def _find_position(self, column: str, header: Sequence[str], *, source: str) -> int | None:
        if column in self.names:
            chosen = self.names[column]
            # First an exact match, then one that ignores case and surrounding spaces.
            for names, name in (
                (list(header), chosen),
                ([_normalized(n) for n in header], _normalized(chosen)),
            ):
                if name in names:
                    return _unique_position(name, names, header, source=source)
            raise UserError(
                f"{source}: the header needs the column {chosen!r} that data.columns names, "
                f"got {shown(list(header))}"
            )
        names = [_normalized(name) for name in header]
        match = next((alias for alias in COLUMN_ALIASES[column] if alias in names), None)
        return None if match is None else _unique_position(match, names, header, source=source)

    @staticmethod
    def _require_distinct_positions(columns: dict[str, int], *, source: str) -> None:
        column_at: dict[int, str] = {}
        for column, position in columns.items():
            if position in column_at:
                raise UserError(
                    f"{source}: {column_at[position]} and {column} must be different columns, got one"
                )
            column_at[position] = column


def _normalized(name: str) -> str:
    return name.strip().lower()


def _unique_position(name: str, names: Sequence[str], header: Sequence[str], *, source: str) -> int:
    if names.count(name) > 1:
        raise UserError(f"{source}: the header must name {name} once, got {shown(list(header))}")
    return names.index(name)


def _missing(column: str) -> str:
    rule = f"the header needs a column named {' or '.join(COLUMN_ALIASES[column])}"
    option = _OPTION_OF.get(column, column)
    implicit = " (rating=none: every row is a rating of 1)" if column == "rating" else ""
    return f"{rule}, or give {advice.setting('data.columns', f'{option}=COLUMN')}{implicit}"
