"""What a model is built from, and the parts that several models share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import keras

from data_pipeline.features.side_features import Features, no_features
from trainer.config import ModelConfig
from trainer.models.layers import Dropout, Embedding


@dataclass(frozen=True)
class ModelInputs:
    """What a model needs to know about the dataset.

    Attributes:
        num_user_rows, num_item_rows: rows of the embedding tables; row 0 stands for every unknown id.
        read_score, read_features: compute `initial_score` and `features`. They are called only for models
            that use these, because they read all ratings and the side tables.
    """

    num_user_rows: int
    num_item_rows: int
    read_score: Callable[[], float] = float
    read_features: Callable[[], tuple[Features, Features]] = lambda: (no_features(), no_features())

    @cached_property
    def initial_score(self) -> float:
        """The score of every pair before training: the mean rating, or 0 for a ranking objective."""
        return self.read_score()

    @cached_property
    def features(self) -> tuple[Features, Features]:
        """Side features of the users and of the items, in this order."""
        return self.read_features()


def index_inputs() -> dict[str, keras.KerasTensor]:
    """The inputs of every model: `user_index` and `item_index`, int32 [batch]."""
    return {name: keras.Input((), dtype="int32", name=name) for name in ("user_index", "item_index")}


def output_dtype() -> str:
    """The dtype of a model's scores: float64 in float64 models, else float32, also in mixed precision."""
    return "float64" if keras.config.floatx() == "float64" else "float32"


def embedding(config: ModelConfig, num_rows: int, name: str) -> Embedding:
    """An embedding table of the configured width; its size decides whether its updates are sparse."""
    return Embedding(
        num_rows,
        config.embedding_dim,
        l2=config.embedding_l2,
        sparse=config.is_sparse(num_rows),
        name=name,
    )


def bias(config: ModelConfig, num_rows: int, name: str) -> Embedding:
    """A table of one bias per row, initialized to 0, so that an unknown id has no bias."""
    return Embedding(
        num_rows,
        1,
        l2=config.bias_l2,
        sparse=config.is_sparse(num_rows),
        initializer="zeros",
        name=name,
    )


def hidden_layers(
    config: ModelConfig, hidden: keras.KerasTensor, *, prefix: str = "", first_dropout: int = 1
) -> keras.KerasTensor:
    """Applies the configured dense ReLU layers with dropout: [batch, ...] -> [batch, last of `hidden_units`].

    Args:
        prefix: prefix of the layers' names, for a model with several such stacks.
        first_dropout: number of the first dropout layer; numbers must be unique within a model.
    """
    for number, units in enumerate(config.hidden_units, start=1):
        hidden = keras.layers.Dense(units, activation="relu", name=f"{prefix}hidden_{number}")(hidden)
        if config.dropout:
            dropout = Dropout(config.dropout, first_dropout + number - 1, name=f"{prefix}dropout_{number}")
            hidden = dropout(hidden)
    return hidden
