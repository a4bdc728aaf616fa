"""What XLA would do in silence is refused before training: own models are called outside XLA first."""

from __future__ import annotations

import random

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import reeltrain
from data_pipeline.errors import UserError
from reeltrain.layers import Embedding
from trainer.config import ModelConfig
from trainer.models import build_model
from trainer.models.inputs import ModelInputs

USERS, ITEMS = 61, 41


def model_of(score, *, dtype="int32"):
    """A model function whose score is `score(user, item)` of the two inputs."""

    def own(_config, _inputs):
        user, item = (keras.Input((), dtype=dtype, name=f"{side}_index") for side in ("user", "item"))
        return keras.Model({"user_index": user, "item_index": item}, score(user, item))

    return own


def built(function):
    inputs = ModelInputs(num_user_rows=USERS, num_item_rows=ITEMS)
    return build_model(ModelConfig(name="my:own"), inputs, function)


def dense(*rows):
    return keras.layers.Dense(1)(keras.layers.Concatenate()(list(rows)) if len(rows) > 1 else rows[0])


class Rows(keras.layers.Layer):
    """A function of the user's and the item's index and a table [rows, 4]."""

    def __init__(self, rows, function, **kwargs):
        super().__init__(**kwargs)
        self.table = self.add_weight(shape=(rows, 4), name="table")
        self.function = function

    def call(self, user, item):
        return self.function(self.table, user, item)

    def compute_output_shape(self, *_shapes):
        return (None, 1)


class RowsInTraining(Rows):
    """Reads the table's rows as they are while it trains, and within range otherwise."""

    def call(self, user, item, training=False):
        return self.function(self.table, user if training else user % 10, item)


def rows(number, function):
    return model_of(lambda user, item: Rows(number, function)(user, item))


def looked_up(table, index):
    return tf.reduce_sum(tf.gather(tf.convert_to_tensor(table), index), axis=1, keepdims=True)


REFUSED = {
    "a small Keras table": (
        model_of(lambda user, _item: dense(keras.layers.Embedding(10, 4, name="mine")(user))),
        "reads index 60 of layer mine, which has 10 rows; user_index is 0 to 60",
    ),
    "a small table of ours, of items": (
        model_of(lambda user, item: dense(Embedding(USERS, 4)(user), Embedding(ITEMS - 1, 4)(item))),
        "reads index 40 of layer embedding_1, which has 40 rows",
    ),
    "users and items swapped": (
        model_of(lambda user, item: dense(Embedding(ITEMS, 4)(user), Embedding(USERS, 4)(item))),
        "reads index 60 of",
    ),
    "a table that is read in training only": (
        model_of(lambda user, item: RowsInTraining(10, lambda t, u, _i: looked_up(t, u))(user, item)),
        "reads index 60 of layer rows_in_training, which has 10 rows",
    ),
    "a negative index": (rows(USERS, lambda t, u, _i: looked_up(t, u - 1)), "reads index -1 of"),
    "a crossed index": (
        rows(USERS * ITEMS - 1, lambda t, u, i: looked_up(t, u * ITEMS + i)),
        "reads index 2500 of",
    ),
    "an integer division by zero": (
        rows(USERS, lambda t, u, i: looked_up(t, u // i)),
        "cannot be called on its lowest and highest indices",
    ),
    "NaN for the unknown row": (
        rows(USERS, lambda t, u, _i: looked_up(t, u) + 0 * tf.math.log(tf.cast(u[:, None], tf.float32))),
        "must give finite scores before training, got nan for user_index=0",
    ),
    "a mean over the batch": (
        rows(USERS, lambda t, u, _i: looked_up(t, u) - tf.reduce_mean(looked_up(t, u))),
        "must score each row by itself",
    ),
    "one score for the whole batch": (
        rows(USERS, lambda t, u, _i: tf.reduce_mean(looked_up(t, u), keepdims=True)),
        "must give scores [rows, 1], got (1, 1)",
    ),
    "scores without a column": (
        rows(USERS, lambda t, u, _i: looked_up(t, u)[:, 0]),
        "must give scores [rows, 1], got",
    ),
    "a fixed batch": (
        rows(USERS, lambda t, u, _i: tf.reshape(looked_up(t, u), [32, 1])),
        "cannot be called on its lowest and highest indices",
    ),
    "strings": (
        rows(
            USERS, lambda t, u, _i: looked_up(t, tf.strings.to_hash_bucket_fast(tf.strings.as_string(u), 9))
        ),
        "must use operations that XLA can compile, got AsString",
    ),
    "Python's if on a tensor": (
        rows(USERS, lambda t, u, _i: looked_up(t, u) * (1 if tf.reduce_max(u) >= 0 else 2)),
        "cannot be compiled: OperatorNotAllowedInGraphError",
    ),
    "inputs that wrap around": (
        model_of(lambda user, _item: dense(Embedding(USERS, 4)(user)), dtype="int8"),
        "must have an int32 input user_index, got int8",
    ),
    "inputs that are rounded": (
        model_of(lambda user, item: dense(user[:, None], item[:, None]), dtype="float32"),
        "must have an int32 input user_index, got float32",
    ),
}


@pytest.mark.parametrize(("function", "message"), REFUSED.values(), ids=REFUSED)
def test_a_model_is_refused_in_one_line_for(function, message):
    with pytest.raises(UserError) as error:
        built(function)
    line = str(error.value)
    assert line.startswith("model.name=my:own ")
    assert message in line
    assert "\n" not in line


def test_the_probe_changes_no_weight_and_no_random_state(monkeypatch):
    function = model_of(lambda user, item: dense(Embedding(USERS, 4)(user), Embedding(ITEMS, 4)(item)))
    keras.utils.set_random_seed(5)
    probed, after = built(function), (random.random(), np.random.rand(), float(tf.random.uniform([])))
    monkeypatch.setattr("trainer.models.probe_model", lambda *_args, **_kwargs: None)
    keras.utils.set_random_seed(5)
    other, expected = built(function), (random.random(), np.random.rand(), float(tf.random.uniform([])))
    assert after == expected
    for one, two in zip(probed.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.fixture
def ratings():
    items = np.random.default_rng(0).integers(0, 40, 600)
    return pd.DataFrame({"user_id": np.repeat(np.arange(60), 10), "item_id": items, "rating": 3.0})


def test_train_refuses_rows_that_all_weigh_nothing(ratings, tmp_path):
    with pytest.raises(UserError, match="needs a row with a weight above 0, got weight 0 in all rows"):
        reeltrain.train(ratings.assign(weight=0.0), workdir=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "config.json").exists()


def test_train_refuses_a_table_that_is_too_small_and_leaves_nothing(ratings, tmp_path):
    function, _ = REFUSED["a small Keras table"]
    settings = {"data.validation_fraction": 0, "train.epochs": 1}
    with pytest.raises(UserError, match="reads index 60 of layer mine, which has 10 rows"):
        reeltrain.train(ratings, model=function, settings=settings, workdir=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "config.json").exists()
