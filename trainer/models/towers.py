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
    """The towers of a model that has layers named `user_tower` and `item_tower`, as `mf` has; else None."""
    layers = {layer.name: layer for layer in model.layers}
    if USER_TOWER not in layers or ITEM_TOWER not in layers:
        return None
    return Towers(layers[USER_TOWER], layers[ITEM_TOWER])
