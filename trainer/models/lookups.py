"""Finds the embedding tables that a model looks up by user or by item index."""

from __future__ import annotations

import keras

# Operations that change only the shape or type of an index on its way to a table.
_SAME_INDEX = {"ExpandDims", "Reshape", "Flatten", "Squeeze", "Cast", "Identity"}


def tables_of(model: keras.Model, name: str) -> list[keras.layers.Layer]:
    """The layers that look up rows by the input `name`, each once, in the model's order.

    A table of side features is not among them, since another index looks it up; nor is a table of one column,
    which is a bias. Nested functional models are searched, too.

    Args:
        name: `user_index` or `item_index`.
    """
    found: list[keras.layers.Layer] = []
    _search(model, model.input[name], found)
    return found


def _search(model: keras.Model, index: keras.KerasTensor, found: list[keras.layers.Layer]) -> None:
    reached = {id(index)}
    nodes = [
        node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]
    ]
    for node in nodes:
        inputs = node.input_tensors
        positions = [number for number, tensor in enumerate(inputs) if id(tensor) in reached]
        if not positions:
            continue
        operation = node.operation
        table = getattr(operation, "embeddings", None)
        if table is not None and len(table.shape) == 2:
            if table.shape[1] > 1 and operation not in found:
                found.append(operation)
        elif type(operation).__name__ in _SAME_INDEX and len(inputs) == 1:
            reached.update(id(tensor) for tensor in node.outputs)
        elif isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
            for position in positions:
                _search(operation, operation.inputs[position], found)
