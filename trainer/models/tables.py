"""Which of a model's variables are embedding tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

_ATTRIBUTE = "table"


@dataclass(frozen=True)
class EmbeddingTable:
    """Marks a Keras variable as a table, [rows, dim], that a model only reads by looking up rows.

    Attributes:
        sparse: gradients and updates cover only the rows in the batch; otherwise the whole table.
    """

    sparse: bool


class SplitVariables(NamedTuple):
    """A model's variables, each list in the model's order.

    Attributes:
        dense: updated as a whole; tables that are not sparse are among them.
        sparse: tables of which only rows have gradients.
    """

    dense: list[Any]
    sparse: list[Any]


def mark_table(variable: Any, *, sparse: bool) -> None:
    """Makes a Keras variable an embedding table."""
    setattr(variable, _ATTRIBUTE, EmbeddingTable(sparse))


def table_of(variable: Any) -> EmbeddingTable | None:
    """The mark of an embedding table; None for every other variable."""
    return getattr(variable, _ATTRIBUTE, None)


def is_sparse(variable: Any) -> bool:
    """Whether a variable is a sparse embedding table."""
    table = table_of(variable)
    return table is not None and table.sparse


def split_variables(variables: Iterable[Any]) -> SplitVariables:
    """Dense variables and sparse tables, which are trained in different ways."""
    split = SplitVariables(dense=[], sparse=[])
    for variable in variables:
        (split.sparse if is_sparse(variable) else split.dense).append(variable)
    return split
