"""Keras models over named columns: in, `user_index` and `item_index`; out, one score a row.

A model is a function (ModelConfig, ModelInputs) -> `keras.Model` from {`user_index`: int32 [batch],
`item_index`: int32 [batch]} to [batch, 1], float32 in mixed precision, with fresh weights. Yours, too:
`--model module:function`, or `reeltrain.train(model=...)` with the function. A name that is only stored in a
run is never imported (`trainer.config.own_model`). Whatever it is made of must be a function of its inputs
and weights: layers that keep a state of their own (`BatchNormalization`) or draw from a generator
(`keras.layers.Dropout`; ours is `reeltrain.layers.Dropout`) would make the result depend on the number of
devices and are refused. `reeltrain.layers.Embedding` makes tables that may be large.
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
from trainer.models.two_tower import two_tower
from trainer.models.wide_deep import wide_deep

ModelFunction = Callable[[ModelConfig, ModelInputs], keras.Model]

# Also to be named in `trainer.config.MODEL_NAMES`, for which no TensorFlow loads.
MODELS: dict[str, ModelFunction] = {
    "bias": bias_model,
    "mf": mf,
    "mlp": mlp,
    "neumf": neumf,
    "wide-deep": wide_deep,
    "two-tower": two_tower,
}
assert tuple(MODELS) == MODEL_NAMES


def build_model(config: ModelConfig, inputs: ModelInputs, own: ModelFunction | None = None) -> keras.Model:
    """The configured model, with fresh weights.

    Args:
        own: the function that `config.name` names, where that is one of your own. Nothing is imported here.

    Raises:
        UserError: the function is not given, or what it makes is not a model that can be trained here.
    """
    if config.name in MODELS:
        return MODELS[config.name](config, inputs)
    if own is None:
        require_named_model(config.name, own, where="this configuration")
    assert own is not None
    with _names_from_the_start():
        model = own(config, inputs)
    _check(model, config.name)
    return model


@contextlib.contextmanager
def _names_from_the_start() -> Iterator[None]:
    """Layers without a name are called `dense`, `dense_1` ... whatever was built in the process before.

    A checkpoint knows them by name. `keras.backend.clear_session` would do it, too, and forget much else.
    """
    key = "object_name_uids"
    before = global_state.get_global_attribute(key)
    global_state.set_global_attribute(key, collections.defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute(key, before)


def name_of(function: ModelFunction) -> str:
    """`module:function`."""
    return f"{function.__module__}:{function.__qualname__}"


def _check(model: object, name: str) -> None:
    if not isinstance(model, keras.Model):
        raise UserError(f"model.name={name} must make a keras.Model, got {type(model).__name__}")
    try:
        asked, output = model.input, model.output
    except AttributeError:  # of a subclass, which tells neither
        raise UserError(
            f"model.name={name} must make a keras.Model(inputs, outputs), got a {type(model).__name__}"
        ) from None
    inputs = asked if isinstance(asked, dict) else {}
    if sorted(inputs) != ["item_index", "user_index"]:
        found = ", ".join(inputs) or type(asked).__name__
        raise UserError(f"model.name={name} must have the inputs user_index and item_index, got {found}")
    if not isinstance(output, keras.KerasTensor):
        raise UserError(f"model.name={name} must have one output, got a {type(output).__name__} of them")
    if tuple(output.shape) != (None, 1):
        raise UserError(f"model.name={name} must have the output shape (None, 1), got {output.shape}")
    for path, times in collections.Counter(variable.path for variable in model.variables).items():
        if times > 1:  # a checkpoint knows them by it
            raise UserError(
                f"model.name={name} must give its layers different names, also in models within it: got "
                f"{times} variables {path}"
            )
    frozen = {id(v) for layer in model._flatten_layers() if not layer.trainable for v in layer.weights}
    for variable in model.non_trainable_variables:
        if id(variable) in frozen:
            continue
        raise UserError(
            f"model.name={name} must keep no state beside its weights, which devices would not share, got "
            f"{variable.path}; for dropout take reeltrain.layers.Dropout"
        )
    if not model.trainable_variables:
        raise UserError(f"model.name={name} must have something to train, got a model without weights")
