"""The holdout: the relevant items of each user in a split, and the seen items, which are not candidates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.dataset.splits import SPLITS
from data_pipeline.dataset.vocabulary import UNKNOWN_INDEX
from data_pipeline.errors import UserError
from data_pipeline.features.interactions import Interactions

# Split -> the splits whose items count as seen when it is evaluated.
SEEN_SPLITS = {"validation": ("train",), "test": ("train", "validation")}


class NothingRelevantError(UserError):
    """A split has no relevant row."""


@dataclass(frozen=True)
class Holdout:
    """The users with at least one relevant item in a split. Row r of each attribute belongs to the r-th user.

    A user's relevant items are the distinct items in their rows of the split. With `positive_from`, only rows
    with such a rating or a higher one count. Cold items (not in training) are also relevant, although no
    model can rank them. Cold users (not in training) are included, and distinguished by id, although all of
    them share embedding row 0.

    Attributes:
        user_index: int32 [users]; 0 for cold users.
        relevant: the relevant items that are in training, without seen items.
        num_cold_relevant: int64 [users], the number of relevant cold items.
        seen: items that are not candidates: rated in training and, if test is evaluated, in validation.
        rated: items that the user rated in any split; they are never drawn as negatives.
        num_seen_again: relevant pairs of the split that are already seen, and therefore do not count.
    """

    user_index: np.ndarray
    relevant: Interactions
    num_cold_relevant: np.ndarray
    seen: Interactions
    rated: Interactions
    num_seen_again: int

    def __len__(self) -> int:
        return len(self.user_index)

    @property
    def num_relevant(self) -> np.ndarray:
        """The number of relevant items of each user, cold items included, int64 [users], at least 1."""
        return self.relevant.counts + self.num_cold_relevant

    def select(self, rows: np.ndarray) -> Holdout:
        """The holdout of the users in these rows."""
        return replace(
            self,
            user_index=self.user_index[rows],
            relevant=self.relevant.select(rows),
            num_cold_relevant=self.num_cold_relevant[rows],
            seen=self.seen.select(rows),
            rated=self.rated.select(rows),
        )

    def sample(self, num_users: int, *, seed: int = 0) -> Holdout:
        """The holdout of at most `num_users` users, drawn at random."""
        if num_users >= len(self):
            return self
        rows = np.random.default_rng(seed).choice(len(self), num_users, replace=False)
        return self.select(np.sort(rows))


def holdout_of(
    dataset: PreparedDataset, split: str = "test", *, positive_from: float | None = None
) -> Holdout:
    """The holdout of the split `validation` or `test` of a prepared dataset.

    Raises:
        NothingRelevantError: no row of the split is relevant.
    """
    held_out = dataset.table(split)
    users = _HoldoutUsers.of(dataset, held_out)
    num_item_rows = dataset.num_item_rows

    def interactions(pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> Interactions:
        # Interactions.of ignores row 0, the unknown user.
        shifted = ((row + 1, item) for row, item in pairs)
        of_rows = Interactions.of(shifted, num_user_rows=users.num_rows + 1, num_item_rows=num_item_rows)
        return of_rows.select(np.arange(1, users.num_rows + 1))

    def rows_of(splits: tuple[str, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for name in splits:
            table = dataset.table(name)
            yield users.rows(table), table["item_index"].to_numpy()

    seen = interactions(rows_of(SEEN_SPLITS[split]))
    row, item = users.rows(held_out), held_out["item_index"].to_numpy()
    positive = np.ones(len(row), bool)
    if positive_from is not None:
        positive = held_out["rating"].to_numpy() >= positive_from
    seen_again = (item != UNKNOWN_INDEX) & seen.contains(row, item)
    cold = positive & (item == UNKNOWN_INDEX)
    id_code = pc.dictionary_encode(held_out["item_id"]).combine_chunks().indices.to_numpy()
    cold_pairs = np.unique(np.stack([row[cold], id_code[cold]]), axis=1)
    holdout = Holdout(
        user_index=users.user_index,
        relevant=interactions(iter([(row[positive & ~seen_again], item[positive & ~seen_again])])),
        num_cold_relevant=np.bincount(cold_pairs[0], minlength=users.num_rows),
        seen=seen,
        rated=interactions(rows_of(SPLITS)),
        num_seen_again=int(np.sum(positive & seen_again)),
    )
    has_relevant = np.flatnonzero(holdout.num_relevant)
    if not len(has_relevant):
        condition = "" if positive_from is None else f" rated {positive_from:g} or higher"
        raise NothingRelevantError(
            f"ranking needs a {split} row{condition}, got none among {len(row):,} of {dataset.name}"
        )
    return holdout.select(has_relevant)


@dataclass(frozen=True)
class _HoldoutUsers:
    """The users of a table, one row each: first known users by index, then cold users by raw id.

    Attributes:
        user_index: int32 [num_rows], 0 for cold users.
        row_of_index: int64 [num_user_rows], user index -> row; -1 for users that are not in the table.
        cold_ids: raw ids of the cold users, who take the last rows.
    """

    user_index: np.ndarray
    row_of_index: np.ndarray
    cold_ids: pa.Array

    @classmethod
    def of(cls, dataset: PreparedDataset, table: pa.Table) -> _HoldoutUsers:
        index = table["user_index"].to_numpy()
        known = np.unique(index[index != UNKNOWN_INDEX])
        cold_ids = pc.unique(table["user_id"].filter(pa.array(index == UNKNOWN_INDEX)))
        row_of_index = np.full(dataset.num_user_rows, -1, np.int64)
        row_of_index[known] = np.arange(len(known))
        user_index = np.concatenate([known, np.zeros(len(cold_ids), known.dtype)])
        return cls(user_index, row_of_index, cold_ids)

    @property
    def num_rows(self) -> int:
        return len(self.user_index)

    def rows(self, table: pa.Table) -> np.ndarray:
        """The user's row for each row of a split, int64; -1 for users that are not among these."""
        index = table["user_index"].to_numpy()
        rows = self.row_of_index[index]
        if "user_id" in table.column_names:  # train has no cold users, and no such column
            cold = np.flatnonzero(index == UNKNOWN_INDEX)
            found = pc.index_in(table["user_id"].take(pa.array(cold)), value_set=self.cold_ids)
            position = pc.fill_null(found, -1).to_numpy()
            num_known = self.num_rows - len(self.cold_ids)
            rows[cold] = np.where(position < 0, -1, position + num_known)
        return rows
