"""The vectors of a run's users and items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf

from data_pipeline.errors import UserError
from trainer.models.layers import Offset
from trainer.models.lookups import tables_of
from trainer.models.towers import towers_of
from trainer.run.trained_run import Run

Side = Literal["users", "items"]
SIDES: tuple[Side, ...] = ("users", "items")
# Vectors computed at a time: bounds the memory of a tower's layers.
BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class Vectors:
    """One vector for each known user or item of a run; row i is of the id `ids[i]`.

    Row 0 of the model's tables, which stands for every unknown id, is left out.

    Attributes:
        side: `users` or `items`.
        source: which part of the model they come from.
        ids: raw ids, of the training data's type.
        titles: of items (null where there is none); None for users.
        dim: length of a vector.
        biases: float [rows], where the score adds a bias of each user and item (model `mf`), else None.
        offset: what the score adds to every inner product, where it is an inner product, else None.
    """

    side: Side
    source: str
    ids: pa.Array
    titles: pa.Array | None
    dim: int
    biases: np.ndarray | None
    offset: float | None
    _of_index: Callable[[np.ndarray], np.ndarray] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Vectors [rows, dim] of some rows, in the model's precision: float64 or float32."""
        return self._of_index(np.asarray(rows) + 1)

    def blocks(self, num_rows: int = BLOCK_ROWS) -> Iterator[tuple[slice, np.ndarray]]:
        """All vectors in bounded memory: (rows, vectors [at most num_rows, dim])."""
        for begin in range(0, len(self), num_rows):
            part = slice(begin, min(begin + num_rows, len(self)))
            yield part, self.rows(np.arange(part.start, part.stop))


def vectors_of(run: Run, side: Side) -> Vectors:
    """The vectors of a run's users or items.

    - `mf`: the factors, with the biases next to them. score = offset + user bias + item bias + inner product.
    - `two-tower`, and your own model with towers: what the tower gives. score = offset + inner product.
    - other models: the rows of all embedding tables that the index looks up, joined in the order of their
      names. The layers between them and the score are not part of a vector.

    With the objective `ordinal`, these scores are those that the ordinal head turns into a rating.

    Raises:
        UserError: `side` is another word, or the model has no such table.
    """
    if side not in SIDES:
        raise UserError(f"side must be users or items, got {side!r}")
    dataset = run.dataset
    model = run.model
    name = side.removesuffix("s")
    num_rows = dataset.num_user_rows if side == "users" else dataset.num_item_rows
    towers = towers_of(model)
    biases, offset = None, None
    if towers is not None:
        tower = towers.user if side == "users" else towers.item
        offset = sum(float(layer.offset.numpy()) for layer in model.layers if isinstance(layer, Offset))
        if run.config.model.name == "mf":
            tables = [tower.get_layer(f"{name}_embedding")]
            biases = tower.get_layer(f"{name}_bias").embeddings.numpy()[1:, 0]
        else:
            tables = []
    else:
        tower, tables = None, sorted(tables_of(model, f"{name}_index"), key=lambda table: table.name)
    if tables:
        _require_rows(tables, num_rows, side)
        source, dim = " + ".join(table.name for table in tables), sum(t.embeddings.shape[1] for t in tables)
        of_index = _lookup(tables)
    elif tower is not None:
        source, dim, of_index = tower.name, tower.output_shape[-1], _tower_output(tower)
    else:
        raise UserError(
            f"{side} of the model {run.config.model.name} have no vectors: they need an embedding table of 2 "
            f"columns or more that {name}_index looks up, or layers named user_tower and item_tower, got none"
        )
    ids = (dataset.user_vocabulary if side == "users" else dataset.item_vocabulary).ids
    titles = dataset.items["title"].combine_chunks() if side == "items" else None
    return Vectors(side, source, ids, titles, int(dim), biases, offset, of_index)


def _require_rows(tables: list[keras.layers.Layer], num_rows: int, side: Side) -> None:
    for table in tables:
        if table.embeddings.shape[0] < num_rows:
            raise UserError(
                f"the table {table.name} must have a row for each of the {num_rows - 1} {side} and row 0, "
                f"got {table.embeddings.shape[0]}"
            )


def _lookup(tables: list[keras.layers.Layer]) -> Callable[[np.ndarray], np.ndarray]:
    def vectors(index: np.ndarray) -> np.ndarray:
        parts = [tf.gather(tf.convert_to_tensor(table.embeddings), index).numpy() for table in tables]
        return np.concatenate(parts, axis=1)

    return vectors


def _tower_output(tower: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    def vectors(index: np.ndarray) -> np.ndarray:
        output = tower(tf.constant(index, tf.int32), training=False)
        return tf.cast(output, tower.variable_dtype).numpy()

    return vectors
