"""Models whose score is the inner product of a user's and an item's vector."""

from __future__ import annotations

from dataclasses import dataclass

import keras

USER_TOWER, ITEM_TOWER = "user_tower", "item_tower"


@dataclass(frozen=True)
class Towers:
    """The two halves of a model: of int32 indices [rows] they make vectors [rows, dim].

    For one user, inner products order items as the model's scores do.
    """

    user: keras.Model
    item: keras.Model


def towers_of(model: keras.Model) -> Towers | None:
    """The towers of a model that is nothing but them and their inner product, as `mf` is; else None.

    They are layers named `user_tower` and `item_tower`. What may come behind keeps the order of scores.
    """
    layers = {layer.name: layer for layer in model.layers}
    others = [layer for name, layer in layers.items() if name not in (USER_TOWER, ITEM_TOWER)]
    kinds = [type(layer).__name__ for layer in others]
    if len(layers) - len(others) < 2 or kinds.count("InnerProduct") != 1:
        return None
    if not set(kinds) <= {"InputLayer", "InnerProduct", "Offset", "OrdinalHead"}:
        return None
    return Towers(layers[USER_TOWER], layers[ITEM_TOWER])
