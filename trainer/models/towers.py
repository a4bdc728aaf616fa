"""Towers: the two halves of a model whose score is an inner product of a user and an item vector."""

from __future__ import annotations

from dataclasses import dataclass

import keras

USER_TOWER, ITEM_TOWER = "user_tower", "item_tower"


@dataclass(frozen=True)
class Towers:
    """The user tower and the item tower of a model: int32 indices [rows] -> vectors [rows, dim].

    For any one user, the inner products order items as the model's scores do.
    """

    user: keras.Model
    item: keras.Model


def towers_of(model: keras.Model) -> Towers | None:
    """The towers of a model that consists of them and their inner product, like `mf`; None for other models.

    The towers are the layers named `user_tower` and `item_tower`. Only layers that keep the order of scores
    may follow the inner product.
    """
    layers = {layer.name: layer for layer in model.layers}
    others = [layer for name, layer in layers.items() if name not in (USER_TOWER, ITEM_TOWER)]
    types = [type(layer).__name__ for layer in others]
    if len(layers) - len(others) < 2 or types.count("InnerProduct") != 1:
        return None
    if not set(types) <= {"InputLayer", "InnerProduct", "Offset", "OrdinalHead"}:
        return None
    return Towers(layers[USER_TOWER], layers[ITEM_TOWER])
