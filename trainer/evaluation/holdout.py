"""What rankings are judged by: each user's relevant items among the rows that were held out."""

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

# What may be known when a split is judged, and is not recommended again.
KNOWN_BEFORE = {"validation": ("train",), "test": ("train", "validation")}


class NothingRelevantError(UserError):
    """A split without a relevant row."""


@dataclass(frozen=True)
class Holdout:
    """The users with at least one relevant item in a split; row r of everything is about the r-th of them.

    Relevant are a user's items in the split, each once, whatever the rating, or only those rated
    `positive_from` or higher. An item that training does not know (cold) is relevant, too, though no model
    can rank it. A user that training does not know (cold) is one of these users like any other: ids decide,
    not embedding rows, which all cold users share.

    Attributes:
        user_index: int32 [users] embedding rows; 0 for cold users.
        relevant: the relevant items that training knows, without those that are seen.
        num_cold_relevant: int64 [users], how many relevant items training does not know.
        seen: what must not be recommended: rated in training, and in validation when test is judged.
        rated: what the user rated in any split, so what is no negative.
        num_seen_again: pairs of the split that are seen already, which therefore count for nothing.
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
        """All relevant items of each user, cold ones included, int64 [users], at least 1."""
        return self.relevant.counts + self.num_cold_relevant

    def select(self, rows: np.ndarray) -> Holdout:
        """Some of the users."""
        return replace(
            self,
            user_index=self.user_index[rows],
            relevant=self.relevant.select(rows),
            num_cold_relevant=self.num_cold_relevant[rows],
            seen=self.seen.select(rows),
            rated=self.rated.select(rows),
        )

    def sample(self, num_users: int, *, seed: int = 0) -> Holdout:
        """At most so many users, drawn at random."""
        if num_users >= len(self):
            return self
        rows = np.random.default_rng(seed).choice(len(self), num_users, replace=False)
        return self.select(np.sort(rows))


def holdout_of(
    dataset: PreparedDataset, split: str = "test", *, positive_from: float | None = None
) -> Holdout:
    """The holdout of a prepared dataset's split, `validation` or `test`.

    Raises:
        NothingRelevantError: no row of the split is relevant.
    """
    held_out = dataset.table(split)
    users = _Users.of(dataset, held_out)
    num_item_rows = dataset.num_item_rows

    def interactions(pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> Interactions:
        # Interactions leave row 0 out, the unknown user.
        shifted = ((row + 1, item) for row, item in pairs)
        of_rows = Interactions.of(shifted, num_user_rows=users.num_rows + 1, num_item_rows=num_item_rows)
        return of_rows.select(np.arange(1, users.num_rows + 1))

    def rows_of(splits: tuple[str, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for name in splits:
            table = dataset.table(name)
            yield users.rows(table), table["item_index"].to_numpy()

    seen = interactions(rows_of(KNOWN_BEFORE[split]))
    row, item = users.rows(held_out), held_out["item_index"].to_numpy()
    positive = np.ones(len(row), bool)
    if positive_from is not None:
        positive = held_out["rating"].to_numpy() >= positive_from
    seen_again = (item != UNKNOWN_INDEX) & seen.contains(row, item)
    cold = positive & (item == UNKNOWN_INDEX)
    item_code = pc.dictionary_encode(held_out["item_id"]).combine_chunks().indices.to_numpy()
    cold_pairs = np.unique(np.stack([row[cold], item_code[cold]]), axis=1)
    holdout = Holdout(
        user_index=users.user_index,
        relevant=interactions(iter([(row[positive & ~seen_again], item[positive & ~seen_again])])),
        num_cold_relevant=np.bincount(cold_pairs[0], minlength=users.num_rows),
        seen=seen,
        rated=interactions(rows_of(SPLITS)),
        num_seen_again=int(np.sum(positive & seen_again)),
    )
    judged = np.flatnonzero(holdout.num_relevant)
    if not len(judged):
        wanted = "" if positive_from is None else f" rated {positive_from:g} or higher"
        raise NothingRelevantError(
            f"ranking needs a {split} row{wanted}, got none among {len(row):,} of {dataset.name}"
        )
    return holdout.select(judged)


@dataclass(frozen=True)
class _Users:
    """The users of some rows: known ones by embedding row, then cold ones by raw id.

    Attributes:
        user_index: int32 [num_rows], 0 for cold ones.
        row_of_index: int64 [num_user_rows], the row of a known user; -1 for others.
        cold_ids: raw ids of the cold ones, of the last rows.
    """

    user_index: np.ndarray
    row_of_index: np.ndarray
    cold_ids: pa.Array

    @classmethod
    def of(cls, dataset: PreparedDataset, table: pa.Table) -> _Users:
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
        """The row of each of a split's rows' user, int64; -1 for users that are none of these."""
        index = table["user_index"].to_numpy()
        rows = self.row_of_index[index]
        if "user_id" in table.column_names:  # not in train, which knows all its users
            cold = np.flatnonzero(index == UNKNOWN_INDEX)
            codes = pc.index_in(table["user_id"].take(pa.array(cold)), value_set=self.cold_ids)
            code = pc.fill_null(codes, -1).to_numpy()
            num_known = self.num_rows - len(self.cold_ids)
            rows[cold] = np.where(code < 0, -1, code + num_known)
        return rows
