"""Models: from user and item indices to one score per row.

bias            mean + user bias + item bias
mf              matrix factorization
mlp             the tutorial's embeddings and dense layers
neumf           neural matrix factorization
wide_deep       linear part with feature crosses, plus an MLP
two_tower       a user tower and an item tower, for retrieval
towers          finds the two towers of a model
lookups         finds the tables that an index looks up
inputs          what a model is built from; parts that models share
layers          Embedding, Dropout and others that work on several devices
feature_layers  look up and embed side features
probe           calls a model of your own outside XLA before it trains

A model is a function (ModelConfig, ModelInputs) -> `keras.Model`. The Keras model maps {`user_index`: int32
[batch], `item_index`: int32 [batch]} to scores [batch, 1], float32 also in mixed precision, and has fresh
weights.

To train your own model, give `--model module:function` or call `reeltrain.train(model=function)`. A name that
is only stored in a run is never imported (`trainer.config.own_model`). The model's output must be a function
of its inputs and weights alone. Layers with other state (`BatchNormalization`) or a random generator
(`keras.layers.Dropout`) are refused: they would make the result depend on the number of devices. For dropout
use `reeltrain.layers.Dropout`, for large tables `reeltrain.layers.Embedding`.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Iterator

import keras
from keras.src.backend.common import global_state

from data_pipeline.errors import UserError
from trainer.config import MODEL_NAMES, ModelConfig, require_named_model
from trainer.models.bias import bias_model
from trainer.models.inputs import ModelInputs
from trainer.models.mf import mf
from trainer.models.mlp import mlp
from trainer.models.neumf import neumf
from trainer.models.probe import probe_model
from trainer.models.two_tower import two_tower
from trainer.models.wide_deep import wide_deep

__all__ = ["MODELS", "ModelFunction", "ModelInputs", "build_model", "name_of"]

ModelFunction = Callable[[ModelConfig, ModelInputs], keras.Model]

# `trainer.config.MODEL_NAMES` repeats the names, so that checking a configuration does not import TensorFlow.
MODELS: dict[str, ModelFunction] = {
    "bias": bias_model,
    "mf": mf,
    "mlp": mlp,
    "neumf": neumf,
    "wide-deep": wide_deep,
    "two-tower": two_tower,
}
assert tuple(MODELS) == MODEL_NAMES


def build_model(
    config: ModelConfig, inputs: ModelInputs, function: ModelFunction | None = None
) -> keras.Model:
    """Builds the configured model, with fresh weights.

    Args:
        function: what `config.name` refers to, for your own model. Nothing is imported here.

    Raises:
        UserError: the function is missing, or its model cannot be trained here.
    """
    if config.name in MODELS:
        return MODELS[config.name](config, inputs)
    if function is None:
        require_named_model(config.name, function, where="this configuration")
    assert function is not None
    with _fresh_layer_names():
        try:
            model = function(config, inputs)
        except Exception as error:  # of code that is not ours
            message = " ".join(str(error).split())
            raise UserError(f"model.name={config.name}: {type(error).__name__}: {message}") from error
    _check_model(model, config.name)
    # Not for built-in models: their tables and side features have as many rows as there are indices.
    probe_model(model, config.name, num_user_rows=inputs.num_user_rows, num_item_rows=inputs.num_item_rows)
    return model


@contextlib.contextmanager
def _fresh_layer_names() -> Iterator[None]:
    """Numbers unnamed layers from `dense`, `dense_1` on, whatever this process has built before.

    Checkpoints identify layers by name. `keras.backend.clear_session` would also reset the numbering, but
    clears other state, too.
    """
    key = "object_name_uids"
    before = global_state.get_global_attribute(key)
    global_state.set_global_attribute(key, collections.defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute(key, before)


def name_of(function: ModelFunction) -> str:
    """The function's name as `module:function`.

    Raises:
        UserError: it is not a function.
    """
    if not hasattr(function, "__qualname__"):
        raise UserError(f"model must be a function or module:function, got {function!r}")
    return f"{function.__module__}:{function.__qualname__}"


def _check_model(model: object, name: str) -> None:
    """Raises UserError unless the model can be trained here."""
    if not isinstance(model, keras.Model):
        raise UserError(f"model.name={name} must return a keras.Model, got {type(model).__name__}")
    try:
        model_input, output = model.input, model.output
    except AttributeError:  # a subclassed model has neither
        raise UserError(
            f"model.name={name} must return a keras.Model(inputs, outputs), got a {type(model).__name__}"
        ) from None
    inputs = model_input if isinstance(model_input, dict) else {}
    if sorted(inputs) != ["item_index", "user_index"]:
        received = ", ".join(inputs) or type(model_input).__name__
        raise UserError(f"model.name={name} must have the inputs user_index and item_index, got {received}")
    for key, tensor in inputs.items():
        # Smaller integers wrap around, and float32 rounds integers from 2^24 on.
        if keras.backend.standardize_dtype(tensor.dtype) not in ("int32", "int64"):
            raise UserError(f"model.name={name} must have an int32 input {key}, got {tensor.dtype}")
    if not isinstance(output, keras.KerasTensor):
        raise UserError(f"model.name={name} must have one output, got a {type(output).__name__} of outputs")
    if tuple(output.shape) != (None, 1):
        raise UserError(f"model.name={name} must have the output shape (None, 1), got {output.shape}")
    if "float" not in output.dtype:
        raise UserError(
            f"model.name={name} must have an output of floating-point numbers, got {output.dtype}"
        )
    # Checkpoints identify variables by path.
    for path, count in collections.Counter(variable.path for variable in model.variables).items():
        if count > 1:
            raise UserError(
                f"model.name={name} must give its layers different names, including layers of nested models, "
                f"got {count} variables {path}"
            )
    frozen = {id(v) for layer in model._flatten_layers() if not layer.trainable for v in layer.weights}
    for variable in model.non_trainable_variables:
        if id(variable) in frozen:
            continue
        raise UserError(
            f"model.name={name} must not have state other than its weights, because devices would not share "
            f"it, got {variable.path}; for dropout use reeltrain.layers.Dropout"
        )
    if not model.trainable_variables:
        raise UserError(f"model.name={name} must have trainable weights, got none")
