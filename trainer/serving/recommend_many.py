"""Recommends to many users, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dataset.vocabulary import UNKNOWN_INDEX
from data_pipeline.features.interactions import cumcount
from trainer.evaluation.baselines.bias import BiasModel, bias_model_of
from trainer.ranking.top_items import top_items
from trainer.run.trained_run import Run
from trainer.serving.candidates import Candidates
from trainer.serving.table_file import table_file

# Users whose lists are in memory at a time; each group reads the rated items once.
GROUP_USERS = 16_384

Progress = Callable[[int, int], None]  # (users done, users in total)


@dataclass(frozen=True)
class Lists:
    """What was recommended to many users.

    Attributes:
        users: number of users.
        unknown_users: of those, users without training rows, who get the items with the highest bias.
        short_users: of those, users with fewer than k items left.
        rows: number of recommended items.
    """

    users: int
    unknown_users: int
    short_users: int
    rows: int


@dataclass(frozen=True)
class ManyUsers:
    """A recommender for a list of users: each gets the list that `recommend` gives to that user alone.

    Scores that differ by the rounding of matrix products only may be in another order.

    Args:
        users: raw ids, each once.
        k: length of a list, at least 1.
    """

    run: Run
    users: pa.Array
    k: int
    candidates: Candidates

    @property
    def schema(self) -> pa.Schema:
        """user_id, rank (from 1), item_id, title, score, known_user."""
        return pa.schema(
            {
                "user_id": self.users.type,
                "rank": pa.int32(),
                "item_id": self.run.dataset.item_vocabulary.ids.type,
                "title": pa.string(),
                "score": pa.float64(),
                "known_user": pa.bool_(),
            }
        )

    @cached_property
    def _bias(self) -> BiasModel:
        return bias_model_of(self.run.dataset)

    def tables(self, progress: Progress | None = None) -> Iterator[pa.Table]:
        """The lists of a group of users at a time, in the order of `users`."""
        for begin in range(0, len(self.users), GROUP_USERS):
            users = self.users.slice(begin, GROUP_USERS)

            def advance(done: int, _: int, begin: int = begin) -> None:
                if progress:
                    progress(begin + done, len(self.users))

            yield self._table(users, advance)

    def write(self, path: Path, progress: Progress | None = None) -> Lists:
        """Writes the lists to a file, which appears when it is complete."""
        num_unknown = num_short = num_rows = 0
        with table_file(path, self.schema) as write:
            for number, table in enumerate(self.tables(progress)):
                write(table)
                users = self.users.slice(number * GROUP_USERS, GROUP_USERS)
                num_unknown += int(
                    np.count_nonzero(self.run.dataset.user_vocabulary.index(users) == UNKNOWN_INDEX)
                )
                num_short += len(users) - pc.sum(pc.equal(table["rank"], self.k), min_count=0).as_py()
                num_rows += len(table)
        return Lists(len(self.users), num_unknown, num_short, num_rows)

    def _table(self, users: pa.Array, progress: Progress) -> pa.Table:
        dataset = self.run.dataset
        user_index = dataset.user_vocabulary.index(users)
        excluded = self.candidates.excluded(dataset, users, user_index)
        is_known = user_index != UNKNOWN_INDEX
        k = min(self.k, dataset.num_item_rows - 1)
        best_UK = np.zeros((len(users), k), np.int32)
        for rows in (np.flatnonzero(is_known), np.flatnonzero(~is_known)):
            if not len(rows):
                continue
            known = bool(is_known[rows[0]])
            best_UK[rows] = top_items(
                self.run.ranker if known else self._bias,
                user_index[rows],
                seen=excluded.select(rows),
                k=k,
                left_out=self.candidates.left_out,
                progress=progress if known else None,
            )
        counts = np.count_nonzero(best_UK, axis=1)
        row = np.repeat(np.arange(len(users)), counts)
        items = best_UK[best_UK > 0]
        # The same values as `predict` gives: the ranker's have the same order, but may be shifted.
        scores = np.empty(len(items))
        for known, score in ((True, self.run.scorer), (False, lambda *pairs: self._bias.predict(*pairs))):
            cells = is_known[row] == known
            if cells.any():
                scores[cells] = score(user_index[row[cells]], items[cells])
        position = pa.array(items - 1)
        columns = [
            users.take(pa.array(row)),
            pa.array(cumcount(counts) + 1, pa.int32()),
            dataset.item_vocabulary.ids.take(position),
            _one(dataset.items["title"]).take(position),
            pa.array(scores),
            pa.array(is_known[row]),
        ]
        progress(len(users), len(users))
        return pa.table(columns, schema=self.schema)


def _one(column: pa.ChunkedArray) -> pa.Array:
    return pc.cast(column, pa.string()).combine_chunks()
