"""Embedding tables are distinguished from other variables by a mark."""

import keras

from trainer.models.layers import Embedding, Offset
from trainer.models.tables import EmbeddingTable, is_sparse, split_variables, table_of


def test_only_our_embeddings_are_tables_and_sparse_ones_are_apart():
    sparse = Embedding(10, 2, sparse=True).embeddings
    dense = Embedding(10, 2).embeddings
    offset = Offset(0.5).offset
    other = keras.Variable([[1.0, 2.0]])
    variables = [offset, sparse, dense, other]
    assert [table_of(v) for v in variables] == [None, EmbeddingTable(True), EmbeddingTable(False), None]
    assert [is_sparse(v) for v in variables] == [False, True, False, False]
    split = split_variables(variables)
    assert [id(v) for v in split.dense] == [id(offset), id(dense), id(other)]
    assert [id(v) for v in split.sparse] == [id(sparse)]
