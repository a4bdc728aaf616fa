"""Maps raw ids to embedding rows; row 0 is for unknown ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

UNKNOWN_INDEX = 0


@dataclass(frozen=True)
class Vocabulary:
    """The ids of the training rows. `ids[i]` has index i + 1; index 0 stands for every other id."""

    ids: pa.Array

    def __len__(self) -> int:
        """The number of embedding rows: one per known id and row 0."""
        return len(self.ids) + 1

    def index(self, column: pa.ChunkedArray | pa.Array) -> np.ndarray:
        """Indices (int32) of raw ids; `UNKNOWN_INDEX` for ids without a training row.

        >>> Vocabulary(pa.array([7, 9])).index(pa.array([9, 8, 7])).tolist()
        [2, 0, 1]
        >>> Vocabulary(pa.array([7, 9])).index(pa.array(["9", "Anna"])).tolist()
        [2, 0]
        """
        if column.type != self.ids.type:
            # The string '9', as from a command line, is the integer 9 of the training data.
            text = Vocabulary(pc.cast(self.ids, pa.string()))
            return text.index(pc.cast(column, pa.string()))
        position = pc.index_in(column, value_set=self.ids)
        return (pc.fill_null(position, -1).to_numpy() + 1).astype(np.int32)

    def ids_of(self, index: np.ndarray) -> pa.Array:
        """The raw ids of known indices (from 1).

        >>> Vocabulary(pa.array(["a", "b"])).ids_of(np.array([2, 1])).to_pylist()
        ['b', 'a']
        """
        return self.ids.take(pa.array(index - 1))
