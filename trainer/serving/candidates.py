"""Which items may be recommended to whom: seen, excluded and chosen items."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.dataset.splits import SPLITS
from data_pipeline.dataset.vocabulary import UNKNOWN_INDEX
from data_pipeline.errors import UserError, shown
from data_pipeline.features.interactions import Interactions
from data_pipeline.logs import log
from data_pipeline.parsing.frame import ids_as_text
from data_pipeline.parsing.id_files import read_ids
from data_pipeline.parsing.ids import parse_ids

if TYPE_CHECKING:
    import pandas as pd

    # A file of ids, or ids.
    Ids = Path | Iterable[object]
    # Also (user, item) pairs: a DataFrame with user_id and item_id.
    IdsOrPairs = Ids | pd.DataFrame


@dataclass(frozen=True)
class Candidates:
    """The items that may be recommended, for every user of a dataset.

    Attributes:
        left_out: bool [num_item_rows], items that nobody gets; None: none.
        pairs: (user ids as text, item indices), items that one user does not get; None: none.
        include_seen: whether the items that a user rated may be recommended.
    """

    left_out: np.ndarray | None
    pairs: tuple[pa.Array, np.ndarray] | None
    include_seen: bool

    def excluded(self, dataset: PreparedDataset, users: pa.Array, user_index: np.ndarray) -> Interactions:
        """Row r has the items that `users[r]` must not get: rated in any split, or in `pairs`.

        Args:
            users: raw ids, [users].
            user_index: their indices; unknown users are told apart by their ids.
        """
        unknown = pc.unique(pc.cast(users.filter(pa.array(user_index == UNKNOWN_INDEX)), pa.string()))

        def rows_of(ids: pa.Array | pa.ChunkedArray, index: np.ndarray) -> np.ndarray:
            """Row 0 is nobody's; then come the known users by index, then the unknown ones of `users`."""
            rows = index.astype(np.int64)
            others = np.flatnonzero(rows == UNKNOWN_INDEX)
            if len(others) and len(unknown):
                text = pc.cast(ids.take(pa.array(others)), pa.string())
                position = pc.fill_null(pc.index_in(text, value_set=unknown), -1).to_numpy()
                rows[others] = np.where(position < 0, 0, dataset.num_user_rows + position)
            return rows

        own_rows = rows_of(users, user_index)
        num_rows = dataset.num_user_rows + len(unknown)
        wanted = np.zeros(num_rows, bool)
        wanted[own_rows] = True
        parts = []
        for split in () if self.include_seen else SPLITS:
            table = dataset.table(split)
            index = table["user_index"].to_numpy()
            # train has no unknown users, and no column of raw ids.
            rows = rows_of(table["user_id"], index) if "user_id" in table.column_names else index
            chosen = wanted[rows]
            parts.append((rows[chosen], table["item_index"].to_numpy()[chosen]))
        if self.pairs is not None:
            ids, items = self.pairs
            rows = rows_of(ids, dataset.user_vocabulary.index(ids))
            parts.append((rows[wanted[rows]], items[wanted[rows]]))
        every = Interactions.of(parts, num_user_rows=num_rows, num_item_rows=dataset.num_item_rows)
        return every.select(own_rows)


def candidates_of(
    dataset: PreparedDataset,
    *,
    exclude: IdsOrPairs | None = None,
    only: Ids | None = None,
    include_seen: bool = False,
) -> Candidates:
    """Reads which items may be recommended; says how many ids are not in the training data.

    Raises:
        UserError: a file or a value that holds no ids, or `only` is empty or has a column of users.
    """
    left_out = np.zeros(dataset.num_item_rows, bool)
    pairs = None
    if only is not None:
        columns = _columns(only, "only", "item_id")
        if "user_id" in columns:
            raise UserError("only takes items for all users, got a column of users too")
        if not len(columns["item_id"]):
            raise UserError("only needs at least one item id, got none")
        left_out[:] = True
        left_out[_known_items(dataset, columns["item_id"], "only")] = False
    if exclude is not None:
        columns = _columns(exclude, "exclude", "item_id")
        items = _known_items(dataset, columns["item_id"], "exclude")
        if "user_id" in columns:
            pairs = pc.cast(columns["user_id"], pa.string()), items
        else:
            left_out[items] = True
    left_out[UNKNOWN_INDEX] = False
    return Candidates(left_out if left_out.any() else None, pairs, include_seen)


def ids_of(values: Ids, what: str, key: str) -> pa.Array:
    """Ids from a file or as given, as int64 or strings.

    Raises:
        UserError: a file or a value that holds no ids.
    """
    return _columns(values, what, key)[key]


def _columns(values: IdsOrPairs, what: str, key: str) -> dict[str, pa.Array]:
    import pandas as pd

    if isinstance(values, Path):
        return read_ids(values, key)
    if isinstance(values, pd.DataFrame):
        if key not in values.columns:
            raise UserError(f"{what} needs a column {key}, got {shown(list(values.columns))}")
        names = [name for name in ("user_id", "item_id") if name in values.columns]
        return {name: _typed(values[name], what) for name in names}
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise UserError(f"{what} must be a list of ids, a DataFrame or a Path, got {shown(values)}")
    return {key: _typed(pd.Series(list(values), dtype=object), what)}


def _typed(column: pd.Series, what: str) -> pa.Array:
    ids, bad = parse_ids(ids_as_text(column))
    if bad is not None:
        raise UserError(f"{what} must hold ids, got {shown(column.iloc[int(bad.argmax())])}")
    return ids


def _known_items(dataset: PreparedDataset, ids: pa.Array, what: str) -> np.ndarray:
    index = dataset.item_vocabulary.index(ids)
    num_unknown = np.count_nonzero(index == UNKNOWN_INDEX)
    if num_unknown:
        log.warning(f"{what}: {num_unknown:,} of {len(ids):,} item ids are not in the training data")
    return index
