"""Encodes side features of users and items as arrays that a model looks up by index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import UserError
from data_pipeline.features.interactions import cumcount

# A text column with more distinct values than this is a name or an address, not a category.
MAX_CATEGORIES = 1_000
NOT_FEATURES = ("user_id", "item_id", "title")


@dataclass(frozen=True)
class Features:
    """Side features of the rows of an embedding table; row 0, the unknown id, has none.

    Attributes:
        categories: name -> int32 [rows, values]: category codes from 1, 0 = no value. One column for a
            category, several for a list.
        sizes: name -> number of codes, including 0.
        numbers: float32 [rows, columns]: standardized numeric columns, 0 = no value.
        number_names: names of the columns of `numbers`.
    """

    categories: Mapping[str, np.ndarray]
    sizes: Mapping[str, int]
    numbers: np.ndarray
    number_names: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.categories, *self.number_names)


def no_features() -> Features:
    return Features({}, {}, np.zeros((0, 0), np.float32), ())


def side_features(users: pa.Table, items: pa.Table, names: str) -> tuple[Features, Features]:
    """Encodes the features of users and items that `model.features` selects.

    Args:
        users, items: a prepared dataset's tables; row i describes index i + 1.
        names: `all`, `none` or comma-separated column names; a name may occur in both tables.

    Raises:
        UserError: an unknown name, or a text column with too many distinct values for a category.
    """
    tables = {"users": users, "items": items}
    usable = {key: _usable(table) for key, table in tables.items()}
    if names == "none":
        chosen = set()
    elif names == "all":
        chosen = set().union(*usable.values())
    else:
        chosen = {name.strip() for name in names.split(",") if name.strip()}
        known = sorted(set().union(*usable.values()))
        for name in sorted(chosen):
            if name not in known:
                have = ", ".join(known) or "none"
                raise UserError(f"model.features: the data has the side features {have}, got {name!r}")
    user, item = (
        _encode(table, [name for name in usable[key] if name in chosen]) for key, table in tables.items()
    )
    return user, item


def _usable(table: pa.Table) -> list[str]:
    """Columns that can be features: numbers, lists, and text with few distinct values."""
    names = []
    for name in table.column_names:
        kind = table.schema.field(name).type
        if name in NOT_FEATURES or pa.types.is_null(kind):
            continue
        if pa.types.is_string(kind):
            num_distinct = pc.count_distinct(table[name]).as_py()
            # With nearly one value per row the text identifies rows; it is not a category.
            if not 1 < num_distinct <= min(MAX_CATEGORIES, max(2, len(table) // 2)):
                continue
        names.append(name)
    return names


def _encode(table: pa.Table, names: list[str]) -> Features:
    num_rows = len(table) + 1
    categories: dict[str, np.ndarray] = {}
    sizes: dict[str, int] = {}
    numbers: dict[str, np.ndarray] = {}
    for name in names:
        column = table[name].combine_chunks()
        if pa.types.is_string(column.type):
            encoded = pc.dictionary_encode(column)
            codes = pc.fill_null(pc.add(encoded.indices, 1), 0).to_numpy(zero_copy_only=False)
            categories[name] = np.concatenate([[0], codes]).astype(np.int32)[:, None]
            sizes[name] = len(encoded.dictionary) + 1
        elif pa.types.is_list(column.type):
            categories[name], sizes[name] = _encode_lists(column)
        else:
            numbers[name] = _standardized(column)
    stacked = np.stack(list(numbers.values()), axis=1) if numbers else np.zeros((num_rows, 0), np.float32)
    return Features(categories, sizes, stacked, tuple(numbers))


class ListValues(NamedTuple):
    """The non-null values of a list column, flattened.

    Attributes:
        row: int64 [values], ascending: the row of each value.
        number: int32 [values], from 0 to `num_different` - 1, equal for equal values.
    """

    row: np.ndarray
    number: np.ndarray
    num_different: int


def list_values(column: pa.ListArray) -> ListValues:
    """Flattens a list column and numbers its distinct values.

    >>> list_values(pa.array([["b", "a"], None, ["a", None]]))
    ListValues(row=array([0, 0, 2]), number=array([0, 1, 1], dtype=int32), num_different=2)
    """
    encoded = pc.dictionary_encode(pc.list_flatten(column))
    known = encoded.indices.is_valid().to_numpy(zero_copy_only=False)
    row = pc.list_parent_indices(column).to_numpy()[known].astype(np.int64)
    return ListValues(row, encoded.indices.drop_null().to_numpy(), len(encoded.dictionary))


def _encode_lists(column: pa.ListArray) -> tuple[np.ndarray, int]:
    """(int32 [rows + 1, longest list], number of different values + 1)."""
    values = list_values(column)
    lengths = np.bincount(values.row, minlength=len(column))
    codes = np.zeros((len(column) + 1, max(1, int(lengths.max(initial=0)))), np.int32)
    codes[values.row + 1, cumcount(lengths)] = values.number + 1
    return codes, values.num_different + 1


def _standardized(column: pa.Array) -> np.ndarray:
    """float32 [rows + 1], standardized to mean 0 and standard deviation 1 over the rows with a value."""
    values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    known = np.isfinite(values)
    scaled = np.zeros(len(values) + 1, np.float32)
    if known.any():
        # Scale by the largest value first: the square of 1e200 overflows.
        unit = values[known] / (np.abs(values[known]).max() or 1.0)
        scaled[1:][known] = (unit - unit.mean()) / (unit.std() or 1.0)
    return scaled
