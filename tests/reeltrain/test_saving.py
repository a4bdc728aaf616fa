"""Our layers, optimizers and models are saved and loaded as Keras's own are."""

import copy
import importlib
import inspect
import json
import pickle
import pkgutil

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import reeltrain
import trainer
from data_pipeline.features.side_features import side_features
from reeltrain import layers, optimizers
from trainer.config import MODEL_NAMES, ModelConfig
from trainer.models import build_model
from trainer.models.inputs import ModelInputs
from trainer.objectives.ordinal import with_ordinal_head

INDEX = np.array([0, 3, 1], np.int32)
LISTS = np.array([[1, 0], [2, 3], [0, 0]], np.int32)
ROWS = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
FLOATS = np.array([[0.1, -2.5], [1 / 3, 7], [0, 1], [5, 6]], np.float32)
# Name -> the layer with arguments that are no defaults, and what it is called with.
LAYERS = {
    "Cross": (lambda: layers.Cross(4, name="pairs"), [LISTS, LISTS]),
    "Dropout": (lambda: layers.Dropout(0.25, 3), ROWS[0]),
    "Embedding": (lambda: layers.Embedding(5, 3, l2=0.5, sparse=True, initializer="ones"), INDEX),
    "InnerProduct": (lambda: layers.InnerProduct(dtype="mixed_bfloat16"), [ROWS[0], ROWS[1]]),
    "Lookup": (lambda: layers.Lookup(FLOATS, name="found"), INDEX),
    "MeanEmbedding": (lambda: layers.MeanEmbedding(5, 3, l2=0.1), LISTS),
    "Offset": (lambda: layers.Offset(3.7), ROWS[0]),
    "OrdinalHead": (lambda: layers.OrdinalHead([1, 2.5, 4, 5], [0.1, 0.2, 0.3, 0.4]), ROWS[0][:, :1]),
}


def through_json(serialized):
    return json.loads(json.dumps(serialized))


def subclasses(kind):
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def test_every_layer_and_optimizer_of_ours_is_registered_and_public():
    for module in pkgutil.walk_packages(trainer.__path__, "trainer."):
        importlib.import_module(module.name)
    for kind, public in ((keras.layers.Layer, layers), (keras.optimizers.Optimizer, optimizers)):
        ours = {each for each in subclasses(kind) if each.__module__.startswith("trainer.")}
        assert ours == {getattr(public, name) for name in public.__all__}
        for each in ours:
            name = f"reeltrain>{each.__name__}"
            assert keras.saving.get_registered_object(name) is each


def test_every_layer_of_ours_is_tried():
    assert sorted(layers.__all__) == sorted(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_comes_back_from_its_configuration(name):
    make, inputs = LAYERS[name]
    layer = make()
    # Other weights than those that it begins with.
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in layer.get_weights()])
    again = keras.layers.deserialize(through_json(keras.layers.serialize(layer)))
    assert type(again) is type(layer)
    arguments = [p for p in inspect.signature(type(layer)).parameters if p not in ("args", "kwargs")]
    assert set(arguments) <= set(layer.get_config())
    assert keras.layers.serialize(again) == keras.layers.serialize(layer)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(inputs), layer(inputs))
    assert [path.path for path in again.weights] == [path.path for path in layer.weights]


def test_an_embedding_keeps_its_penalty_and_its_kind_of_training():
    again = layers.Embedding.from_config(layers.Embedding(5, 2, l2=0.5, sparse=True).get_config())
    rows = again(np.array([3, 3, 1])).numpy()
    np.testing.assert_allclose(again.losses[0], 0.5 * (rows**2).sum(axis=1), rtol=1e-6)
    assert again.sparse


@pytest.mark.parametrize("name", optimizers.__all__)
def test_an_optimizer_comes_back_from_its_configuration_and_updates_alike(name):
    own = {"momentum": 0.5} if name == "SGD" else {}
    optimizer = getattr(optimizers, name)(0.1, weight_decay=0.25, global_clipnorm=3.0, **own)
    again = keras.optimizers.deserialize(through_json(keras.optimizers.serialize(optimizer)))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    updated = []
    for each in (optimizer, again):
        variable = keras.Variable(ROWS[0])
        for gradient in ROWS:
            each.apply([tf.constant(gradient)], [variable])
        updated.append(variable.numpy())
    np.testing.assert_array_equal(updated[0], updated[1])
    assert np.abs(updated[0] - ROWS[0]).max() > 0.1


def inputs_with_features():
    users = pa.table({"user_id": [1, 2, 3, 4], "age": [20, 35, 50, 35], "kind": ["a", "b", "a", "b"]})
    items = pa.table({"item_id": [7, 8, 9], "genres": [["x", "y"], ["z"], None]})
    return ModelInputs(
        num_user_rows=5,
        num_item_rows=4,
        read_score=lambda: 3.5,
        read_features=lambda: side_features(users, items, "all"),
    )


def built(name):
    config = ModelConfig(name=name, hidden_units=(6, 4), dropout=0.1, embedding_l2=0.01)
    model = build_model(config, inputs_with_features())
    return with_ordinal_head(model, [1, 3, 5], [0.2, 0.3, 0.5]) if name == "bias" else model


def all_pairs():
    user, item = np.meshgrid(np.arange(5, dtype=np.int32), np.arange(4, dtype=np.int32))
    return {"user_index": user.ravel(), "item_index": item.ravel()}


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_saved_model_predicts_the_same_when_it_is_loaded(name, tmp_path):
    model = built(name)
    rng = np.random.default_rng(2)
    model.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again(all_pairs()), model(all_pairs()))
    assert [variable.path for variable in again.variables] == [variable.path for variable in model.variables]


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    ["import keras, reeltrain", "import reeltrain, tensorflow, keras"],
)
def test_a_trained_model_loads_with_its_optimizer_wherever_reeltrain_is_imported(
    imports, tmp_path, run_python
):
    settings = {"train.max_steps": 5, "model.name": "mf"}
    result = reeltrain.train("generated", settings=settings, workdir=tmp_path / "run", quiet=True)
    result.run.model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "scores.npz", result.run.model(all_pairs()))
    run_python(
        f"{imports}\nimport numpy as np\n"
        f"model = keras.models.load_model(r'{tmp_path}/m.keras')\n"
        "user, item = np.meshgrid(np.arange(5, dtype=np.int32), np.arange(4, dtype=np.int32))\n"
        "scores = model({'user_index': user.ravel(), 'item_index': item.ravel()})\n"
        f"np.testing.assert_array_equal(scores, np.load(r'{tmp_path}/scores.npz')['arr_0'])\n"
        "import reeltrain\nassert type(model.optimizer) is reeltrain.optimizers.Adam\n"
        "from reeltrain.layers import __all__ as names\n"
        "assert all(keras.saving.get_registered_object(f'reeltrain>{name}') for name in names)\n"
    )


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_model_is_copied_and_exported(name, tmp_path):
    model = built(name)
    expected = model(all_pairs()).numpy()
    copies = [keras.models.clone_model(model), keras.models.model_from_json(model.to_json())]
    for again in copies:
        again.set_weights(model.get_weights())
    for again in [*copies, copy.deepcopy(model), pickle.loads(pickle.dumps(model))]:
        np.testing.assert_array_equal(again(all_pairs()), expected)
    model.export(tmp_path / "exported", verbose=False)
    serve = tf.saved_model.load(tmp_path / "exported").signatures["serving_default"]
    columns = {key: tf.constant(value) for key, value in all_pairs().items()}
    (scores,) = serve(**columns).values()
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def small(tmp_path, **how):
    settings = {"train.max_steps": 6, "train.global_batch_size": 1024, "model.embedding_dim": 2}
    return reeltrain.train("generated", settings=settings, workdir=tmp_path / "run", quiet=True, **how)


def test_callbacks_of_keras_that_save_and_steer_work(tmp_path):
    callbacks = keras.callbacks
    saved, log = tmp_path / "best.keras", tmp_path / "log.csv"
    history = callbacks.History()
    settings = {"train.epochs": 2, "train.global_batch_size": 20_000, "model.embedding_dim": 2}
    given = [
        callbacks.ModelCheckpoint(saved, save_best_only=True, monitor="val_loss"),
        callbacks.CSVLogger(log),
        callbacks.TensorBoard(tmp_path / "tensorboard", update_freq="epoch"),
        callbacks.LearningRateScheduler(lambda _epoch, rate: rate / 2),
        callbacks.ReduceLROnPlateau(patience=0),
        callbacks.TerminateOnNaN(),
        callbacks.LambdaCallback(on_epoch_end=lambda _epoch, _logs: None),
        callbacks.EarlyStopping(patience=5, restore_best_weights=True),
        history,
    ]
    result = reeltrain.train(
        "generated", settings=settings, workdir=tmp_path / "run", callbacks=iter(given), quiet=True
    )
    assert history.epoch == [0, 1]
    assert len(log.read_text().splitlines()) == 3
    assert list((tmp_path / "tensorboard").rglob("events*"))
    again = keras.models.load_model(saved)
    np.testing.assert_array_equal(again(all_pairs()), result.run.model(all_pairs()))
    assert float(result.run.model.optimizer.learning_rate) == pytest.approx(0.001 / 4)
    again.compile(again.optimizer, loss="mse")
    again.fit(all_pairs(), np.ones((20, 1)), verbose=0)


def test_one_callback_is_a_list_of_one(tmp_path):
    history = keras.callbacks.History()
    small(tmp_path, callbacks=history)
    assert history.model is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (keras.callbacks.SwapEMAWeights(), "SwapEMAWeights: it needs an optimizer with use_ema"),
        (keras.callbacks.BackupAndRestore("folder"), "BackupAndRestore: a run continues from its own"),
        (keras.callbacks.History, "callbacks must be Keras callbacks, got <class"),
        ([print], "callbacks must be Keras callbacks, got <built-in"),
        ("History", "callbacks must be Keras callbacks, got 'History'"),
    ],
)
def test_a_callback_that_cannot_work_is_refused_in_one_line(given, message, tmp_path):
    with pytest.raises(reeltrain.UserError, match=message):
        small(tmp_path, callbacks=given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", optimizers.__all__)
def test_an_optimizer_of_ours_trains_in_keras_fit_as_in_the_engine(name):
    """One step of each on a table, with weight decay and one id twice in the batch."""
    own = {"momentum": 0.5} if name == "SGD" else {}
    optimizers_ = [getattr(optimizers, name)(0.1, weight_decay=0.25, **own) for _ in range(2)]
    index = keras.Input((), dtype="int32")
    table = layers.Embedding(5, 3)
    model = keras.Model(index, keras.ops.sum(table(index), axis=1, keepdims=True))
    initial = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    rows, target = np.array([1, 4, 1], np.int32), np.zeros((3, 1), np.float32)

    table.set_weights([initial])
    model.compile(optimizers_[0], loss="mse", jit_compile=False)
    model.fit(rows, target, batch_size=3, epochs=1, verbose=0)
    found = table.get_weights()[0]

    table.set_weights([initial])
    optimizers_[1].build(table.trainable_variables)
    per_row = 2 * initial[[1, 4]].sum(axis=1, keepdims=True) / 3 * [[2], [1]]
    values = tf.constant(np.tile(per_row, (1, 3)), tf.float32)
    gradient = tf.IndexedSlices(values, tf.constant([1, 4]), dense_shape=(5, 3))
    optimizers_[1].update_step(gradient, table.embeddings, 0.1)
    np.testing.assert_allclose(found, table.get_weights()[0], rtol=1e-5, atol=1e-6)
    assert np.abs(found - initial)[[1, 4]].min() > 0.01
    np.testing.assert_array_equal(found[[0, 2, 3]], initial[[0, 2, 3]])
