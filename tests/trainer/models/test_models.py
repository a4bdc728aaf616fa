"""Every model learns planted ratings with every objective, and is restored from its checkpoint."""

import functools
import re

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf

import reeltrain
from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError
from data_pipeline.features.side_features import no_features, side_features
from support import runs
from trainer.config import MODEL_NAMES, ModelConfig, import_model, make_config
from trainer.config.recipes import RECIPES
from trainer.evaluation.holdout import holdout_of
from trainer.evaluation.validation import Monitor, ranking_logs
from trainer.models import build_model
from trainer.models.feature_layers import MeanEmbedding
from trainer.models.inputs import ModelInputs
from trainer.models.layers import Dropout, Embedding
from trainer.models.towers import towers_of
from trainer.models.wide_deep import Cross
from trainer.ranking.model_ranker import model_ranker
from trainer.ranking.scorer import scorer_for
from trainer.run.build import model_for

RANKING = ("bce", "bpr", "sampled-softmax", "in-batch-softmax")
WITH_TOWERS = ("mf", "two-tower")
USERS, ITEMS = 60, 50
FAST = {
    "model.embedding_dim": 16,
    "model.hidden_units": "32,16",
    "optimizer.learning_rate": 0.005,
    "train.global_batch_size": 64,
}


def checkerboard(*, ranking: bool) -> pd.DataFrame:
    """Ratings of 4 for items of the user's parity and 2 for others; for ranking, only the 4s.

    A user bias and an item bias are added, so that the `bias` model has something to learn, too.
    """
    user, item = (each.ravel() for each in np.meshgrid(np.arange(USERS), np.arange(ITEMS), indexing="ij"))
    likes = (user + item) % 2 == 0
    rating = np.where(likes, 4.0, 2.0) + (user % 3 == 0) * 0.5 - (item % 5 == 0) * 0.5
    # For ranking, all liked items are kept, so that the only unseen liked items are test items.
    rows = np.random.default_rng(0).random(len(user)) < (1 if ranking else 0.7)
    table = pd.DataFrame({"user_id": user, "item_id": item, "rating": rating})
    return table[(likes & rows) if ranking else rows]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """Prepared checkerboards by `ranking`, with side features that carry no information."""
    folder = tmp_path_factory.mktemp("checkerboards")
    (folder / "users.csv").write_text(
        "user_id,age,kind\n" + "".join(f"{u},{20 + u % 7},{'abc'[u % 3]}\n" for u in range(USERS))
    )
    (folder / "items.csv").write_text(
        "item_id,title,genres\n" + "".join(f"{i},T{i},{'x|y' if i % 3 else 'z'}\n" for i in range(ITEMS))
    )
    config = DataConfig(users=str(folder / "users.csv"), items=str(folder / "items.csv"))
    datasets = {}
    for ranking in (False, True):
        table = folder / f"{ranking}.csv"
        checkerboard(ranking=ranking).to_csv(table, index=False)
        datasets[ranking] = reeltrain.prepare(table, folder / f"dataset-{ranking}", config)
    return datasets


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_model_scores_known_and_unknown_pairs_with_one_number_each(name):
    model = build_model(ModelConfig(name=name), ModelInputs(num_user_rows=4, num_item_rows=3))
    pairs = {"user_index": np.array([0, 1, 3], np.int32), "item_index": np.array([0, 2, 0], np.int32)}
    scores = keras.ops.convert_to_numpy(model(pairs))
    assert scores.shape == (3, 1)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_model_learns_planted_ratings_and_is_restored_from_its_checkpoint(name, datasets, tmp_path):
    result = reeltrain.train(
        datasets[False],
        settings={**FAST, "model.name": name, "train.epochs": 60},
        workdir=tmp_path / "run",
        quiet=True,
    )
    # The ratings' standard deviation is 1.05; biases cannot explain parity, which leaves 1.0.
    assert result.test_rmse < (1.06 if name == "bias" else 0.35)
    again = reeltrain.load_run(tmp_path / "run")
    pairs = [(user, item) for user in (1, 2, 999) for item in (3, 4, 999)]
    kept, loaded = reeltrain.predict(result.run, pairs), reeltrain.predict(again, pairs)
    np.testing.assert_array_equal(kept["predicted"], loaded["predicted"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "objective"),
    [
        (name, objective)
        for name in MODEL_NAMES
        for objective in (*RANKING, "ordinal")
        if objective != "in-batch-softmax" or name in WITH_TOWERS
    ],
)
def test_every_model_trains_with_every_objective(name, objective, datasets, tmp_path):
    ranking = objective in RANKING
    result = reeltrain.train(
        datasets[ranking],
        settings={**FAST, "model.name": name, "objective.name": objective, "train.epochs": 40},
        workdir=tmp_path / "run",
        quiet=True,
    )
    # At chance level, 10 of about 30 unseen items have an NDCG of about 0.3 (0.26 measured).
    if ranking and name != "bias":
        assert result.test["ndcg@10"] > 0.8, result.test
    elif ranking:
        assert 0 < result.test["ndcg@10"] < 1
    else:
        assert result.test_rmse < (1.06 if name == "bias" else 0.45)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_TOWERS)
def test_towers_rank_items_as_the_model_does(name, datasets, tmp_path):
    dataset = datasets[True]
    settings = {**FAST, "model.name": name, "objective.name": "bpr", "train.epochs": 3}
    run = reeltrain.train(dataset, settings=settings, workdir=tmp_path / "run", quiet=True).run
    users = np.arange(1, 6, dtype=np.int32)
    by_towers = run.ranker.scores(users)[:, 1:]
    items = np.arange(1, by_towers.shape[1] + 1, dtype=np.int32)
    pairs = run.scorer(np.repeat(users, len(items)), np.tile(items, len(users))).reshape(by_towers.shape)
    some_pairs = [(user, item) for user in range(5) for item in range(5)]
    # Scores, not ratings, so not clipped to 1 to 5.
    assert (reeltrain.predict(run, some_pairs)["predicted"] < 1).any()
    # Equal up to one constant per user, here the model's mean.
    np.testing.assert_allclose(by_towers - by_towers[:, :1], pairs - pairs[:, :1], atol=1e-5)


# One device's run serves both replica counts, which follow each other.
TOGETHER = [
    ("bias", "bce"),
    ("mf", "in-batch-softmax"),
    ("neumf", "bce"),
    ("wide-deep", "ordinal"),
    ("two-tower", "sampled-softmax"),
]


@pytest.fixture(scope="module")
def train_together(datasets, tmp_path_factory):
    """Trains a model on some replicas; returns the losses and weights. Equal calls train once."""
    folder = tmp_path_factory.mktemp("together")

    @functools.cache
    def trained(name, objective, replicas):
        settings = {
            "model.name": name,
            "objective.name": objective,
            "model.dropout": 0.2,
            "model.embedding_l2": 0.01,
            "train.precision": "float64",
            "train.log_every_steps": 1,
            "train.epochs": 2,
            "train.global_batch_size": 64,
            "train.replicas": replicas,
        }
        workdir = folder / f"{name}-{replicas}"
        runs.train(datasets[objective in RANKING].path, workdir, settings)
        return runs.losses(workdir), runs.weights(workdir)

    return trained


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "objective", "replicas"), [(*pair, replicas) for pair in TOGETHER for replicas in (2, 4)]
)
def test_several_replicas_train_every_model_like_one_device(name, objective, replicas, train_together):
    one, more = train_together(name, objective, 1), train_together(name, objective, replicas)
    assert runs.largest_difference(one[0], more[0]) <= 1e-10
    assert runs.largest_difference(one[1], more[1]) <= 1e-10


@pytest.mark.slow
@pytest.mark.system
def test_in_batch_softmax_on_two_workers_uses_the_items_of_the_global_batch(datasets, tmp_path):
    settings = {
        "model.name": "two-tower",
        "objective.name": "in-batch-softmax",
        "train.precision": "float64",
        "train.log_every_steps": 1,
        "train.epochs": 1,
        "train.global_batch_size": 64,
    }
    dataset = datasets[True].path
    runs.train(dataset, tmp_path / "one", settings)
    runs.train(dataset, tmp_path / "two", settings, workers=2)
    one, two = runs.losses(tmp_path / "one"), runs.losses(tmp_path / "two")
    assert runs.largest_difference(one, two) <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["bce", "in-batch-softmax"])
def test_resumed_and_split_steps_give_the_same_ranking_model(objective, datasets, tmp_path):
    settings = {
        "model.name": "two-tower",
        "objective.name": objective,
        "model.dropout": 0.2,
        "train.precision": "float64",
        "train.epochs": 2,
        "train.global_batch_size": 64,
    }
    dataset = datasets[True]

    def weights(folder, **more):
        changed = {**settings, **{f"train.{key}": value for key, value in more.items()}}
        reeltrain.train(dataset, settings=changed, workdir=tmp_path / folder, quiet=True)
        return runs.weights(tmp_path / folder)

    straight = weights("straight")
    weights("stopped", max_steps=21)
    assert runs.largest_difference(weights("stopped"), straight) == 0
    assert runs.largest_difference(weights("blocks", steps_per_loop=3), straight) == 0
    assert runs.largest_difference(weights("parts", accumulation_steps=4), straight) <= 1e-10


class Logs(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.values = []

    def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002
        self.values.append(logs)


@pytest.mark.slow
def test_the_best_checkpoint_of_a_ranking_has_the_highest_ndcg_also_after_a_resume(tmp_path):
    settings = {**FAST, "model.name": "mf", "objective.name": "bce", "data.validation_fraction": 0.3}
    logs = Logs()
    # A learning rate so high that NDCG peaks before the end and goes up and down.
    settings |= {"optimizer.learning_rate": 0.05, "model.embedding_dim": 64}
    for epochs in (3, 8):
        reeltrain.train(
            checkerboard(ranking=True),
            settings={**settings, "train.epochs": epochs},
            workdir=tmp_path / "run",
            callbacks=[logs],
            quiet=True,
        )
    assert all(set(each) == {"loss", "val_ndcg@10", "val_recall@10"} for each in logs.values)
    values = [each["val_ndcg@10"] for each in logs.values]
    newest = reeltrain.load_run(tmp_path / "run")
    best = reeltrain.load_run(tmp_path / "run", best=True)
    assert best.step * len(values) == newest.step * (1 + int(np.argmax(values)))
    assert ranking_logs(best.dataset, best.ranker)["ndcg@10"] == max(values) > min(values)


def test_a_ranking_is_validated_on_the_items_that_it_treats_as_positive(datasets):
    dataset = datasets[False]
    settings = ["model.name=mf", "objective.name=bce", "objective.positive_from=4"]
    config = make_config("article", RECIPES, settings)
    model = model_for(config, dataset)
    liked = holdout_of(dataset, "test", positive_from=4)
    ranker = model_ranker(model, scorer_for(model, dataset))
    expected = ranking_logs(dataset, ranker, "test", holdout=liked)
    assert Monitor(config, dataset, model).test() == expected
    assert expected != ranking_logs(dataset, ranker, "test")


def test_only_a_model_that_is_an_inner_product_of_towers_has_towers():
    model = build_model(ModelConfig(name="two-tower", hidden_units=()), ModelInputs(4, 3))
    assert towers_of(model) is not None
    bent = keras.Model(model.input, keras.layers.Dense(1)(keras.ops.sin(model.output)))
    assert towers_of(bent) is None
    assert towers_of(build_model(ModelConfig(name="neumf"), ModelInputs(4, 3))) is None


def own_model(config, inputs):
    """A custom model: other layer names, a Keras embedding, a regularizer."""
    user = keras.Input((), dtype="int32", name="user_index")
    item = keras.Input((), dtype="int32", name="item_index")
    left = Embedding(inputs.num_user_rows, config.embedding_dim, name="people")(user)
    right = keras.layers.Embedding(
        inputs.num_item_rows, config.embedding_dim, embeddings_regularizer=keras.regularizers.L2(1e-6)
    )(item)
    hidden = keras.layers.Dense(16, activation="gelu")(keras.layers.Concatenate()([left, right]))
    hidden = Dropout(0.1, 1)(hidden)
    return keras.Model({"user_index": user, "item_index": item}, keras.layers.Dense(1)(hidden))


def with_a_layer_of_keras_rs(config, inputs):
    """A deep & cross network with the cross layer of keras-rs."""
    import keras_rs

    user = keras.Input((), dtype="int32", name="user_index")
    item = keras.Input((), dtype="int32", name="item_index")
    left = Embedding(inputs.num_user_rows, config.embedding_dim)(user)
    right = Embedding(inputs.num_item_rows, config.embedding_dim)(item)
    both = keras.layers.Concatenate()([left, right])
    crossed = keras_rs.layers.FeatureCross()(both, both)
    hidden = keras.layers.Dense(16, activation="relu")(crossed)
    return keras.Model({"user_index": user, "item_index": item}, keras.layers.Dense(1)(hidden))


@pytest.mark.slow
def test_a_custom_model_with_a_keras_rs_layer_trains(datasets, tmp_path):
    settings = {**FAST, "train.epochs": 40}
    result = reeltrain.train(
        datasets[False],
        settings=settings,
        workdir=tmp_path / "run",
        model=with_a_layer_of_keras_rs,
        quiet=True,
    )
    assert result.test_rmse < 0.35


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["mse", "bce"])
def test_a_custom_model_trains_resumes_and_evaluates(objective, datasets, tmp_path):
    dataset = datasets[objective == "bce"]
    settings = {**FAST, "objective.name": objective, "train.epochs": 40}
    result = reeltrain.train(
        dataset, settings=settings, workdir=tmp_path / "run", model=own_model, quiet=True
    )
    assert result.test["rmse"] < 0.5 if objective == "mse" else result.test["ndcg@10"] > 0.7
    assert result.run.config.model.name == f"{__name__}:own_model"
    with pytest.raises(UserError, match=f'give model="{__name__}:own_model"'):
        reeltrain.load_run(tmp_path / "run")
    again = reeltrain.load_run(tmp_path / "run", model=own_model)
    np.testing.assert_array_equal(
        reeltrain.predict(again, [(1, 3)])["predicted"], reeltrain.predict(result.run, [(1, 3)])["predicted"]
    )
    more = {**settings, "train.epochs": 41}
    continued = reeltrain.train(dataset, settings=more, workdir=tmp_path / "run", model=own_model, quiet=True)
    assert continued.step > result.step


def with_keras_dropout(config, inputs):
    model = own_model(config, inputs)
    return keras.Model(model.input, keras.layers.Dropout(0.5)(model.output))


def with_another_input(_config, _inputs):
    year = keras.Input((), dtype="int32", name="year")
    return keras.Model({"year": year}, keras.layers.Dense(1)(keras.ops.expand_dims(year, 1)))


def with_an_error(_config, _inputs):
    raise ValueError("of two\nlines")


class Subclass(keras.Model):
    def call(self, columns):
        return columns["user_index"]


def a_subclass(_config, _inputs):
    return Subclass()


def with_two_outputs(config, inputs):
    model = own_model(config, inputs)
    return keras.Model(model.input, [model.output, keras.layers.Dense(1)(model.output)])


def with_equal_names_within(_config, inputs):
    def tower(num_rows, name):
        index = keras.Input((), dtype="int32")
        return keras.Model(index, Embedding(num_rows, 4, name="table")(index), name=name)

    user = keras.Input((), dtype="int32", name="user_index")
    item = keras.Input((), dtype="int32", name="item_index")
    left, right = tower(inputs.num_user_rows, "left")(user), tower(inputs.num_item_rows, "right")(item)
    return keras.Model({"user_index": user, "item_index": item}, keras.layers.Dot(axes=1)([left, right]))


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["mse", "ordinal", "bpr"])
def test_a_custom_model_trains_in_mixed_precision_unchanged(objective, datasets, tmp_path):
    # Its output is bfloat16; built-in models return float32.
    settings = {"objective.name": objective, "train.precision": "mixed_bfloat16", "train.epochs": 1}
    dataset = datasets[objective == "bpr"]
    result = reeltrain.train(
        dataset, settings=settings, workdir=tmp_path / "run", model=own_model, quiet=True
    )
    assert np.isfinite(result.train_loss)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("with_an_error", "with_an_error: ValueError: of two lines"),
        ("a_subclass", r"must return a keras.Model\(inputs, outputs\), got a Subclass"),
        ("with_two_outputs", "must have one output, got a list of outputs"),
        ("with_equal_names_within", "different names, .* got 2 variables table/embeddings"),
        ("with_keras_dropout", "must not have state other than its weights"),
        ("with_another_input", "must have the inputs user_index and item_index, got year"),
        ("datasets_of_another", "must be a function that can be imported"),
        ("RANKING", "must be a function, got"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_in_one_line(name, message):
    config = make_config("article", RECIPES, [f"model.name={__name__}:{name}"])
    with pytest.raises(UserError, match=message) as caught:
        build_model(
            config.model, ModelInputs(num_user_rows=4, num_item_rows=3), import_model(config.model.name)
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["fm", ".package:function", "package.:function", ":function", "module:"])
def test_a_model_name_is_a_built_in_model_or_module_and_function(name):
    rule = f"model.name must be one of bias, .* or module:function, got '{re.escape(name)}'"
    with pytest.raises(UserError, match=rule):
        make_config("article", RECIPES, [f"model.name={name}"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.features": "genres,year"}, "the data has the side features age, genres, kind, got 'year'"),
        (
            {"objective.name": "bce", "objective.positive_from": 6},
            "must be at most the highest training rating, 4.5, got 6",
        ),
        (
            {"model.name": "mlp", "objective.name": "in-batch-softmax"},
            r"needs a model with towers \(mf, two-tower\), got mlp",
        ),
    ],
)
def test_settings_that_do_not_fit_data_or_model_fail_before_training(settings, message, datasets, tmp_path):
    settings = {"model.name": "mf", "train.epochs": 1, **settings}
    with pytest.raises(UserError, match=message) as caught:
        reeltrain.train(datasets[False], settings=settings, workdir=tmp_path / "run", quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "config.json").exists()


def test_training_refuses_uniform_negatives_if_a_user_has_rated_every_item(tmp_path):
    full = [("all", item, 5) for item in range(6)] + [("some", item, 4) for item in range(3)]
    rows = pd.DataFrame(full, columns=["user_id", "item_id", "rating"])
    rows.to_csv(tmp_path / "train.csv", index=False)
    rows.head(1).assign(user_id="new").to_csv(tmp_path / "test.csv", index=False)
    config = DataConfig(test=str(tmp_path / "test.csv"), validation_fraction=0)
    dataset = reeltrain.prepare(tmp_path / "train.csv", tmp_path / "dataset", config)
    with pytest.raises(UserError, match="1 of 2 users have rated all 6 items"):
        reeltrain.train(dataset, settings={"objective.name": "bpr"}, workdir=tmp_path / "run", quiet=True)


USER_TABLE = pa.table(
    {"user_id": [7, 8, 9], "age": [20, None, 40], "job": ["x", "y", "x"], "zip": ["1a", "2b", "3c"]}
)
ITEM_TABLE = pa.table({"item_id": [1, 2], "title": ["A", "B"], "genres": [["d", "w"], []]})


def test_feature_values_are_numbered_from_1_and_0_is_padding():
    users, items = side_features(USER_TABLE, ITEM_TABLE, "all")
    assert users.names == ("job", "age")  # not zip, whose values are unique
    assert users.categories["job"].tolist() == [[0], [1], [2], [1]]
    assert users.sizes == {"job": 3}
    np.testing.assert_allclose(users.numbers[:, 0], [0, -1, 0, 1])
    assert items.categories["genres"].tolist() == [[0, 0], [1, 2], [0, 0]]
    assert items.sizes == {"genres": 3}


def test_features_may_have_nulls_in_lists_and_the_largest_numbers():
    genres = pa.array([[None, "d"], None, ["w", None, "d"]])
    items = pa.table({"item_id": [1, 2, 3], "genres": genres, "size": [1e308, -1e308, 1e308]})
    _, features = side_features(USER_TABLE, items, "all")
    assert features.categories["genres"].tolist() == [[0, 0], [1, 0], [0, 0], [2, 1]]
    np.testing.assert_allclose(features.numbers[:, 0], [0, 0.5**0.5, -(2**0.5), 0.5**0.5], rtol=1e-6)


def test_a_mean_embedding_ignores_padding():
    layer = MeanEmbedding(4, 2)
    table = np.array(layer.embeddings.value)
    found = layer(tf.constant([[1, 3], [2, 0], [0, 0]]))
    np.testing.assert_allclose(found, [(table[1] + table[3]) / 2, table[2], [0, 0]], rtol=1e-6)


def test_cross_gives_every_pair_of_values_a_different_number():
    pairs = Cross(5)([tf.constant([[1, 2], [3, 0]]), tf.constant([[4, 1], [4, 0]])])
    assert pairs.numpy().tolist() == [[9, 6, 14, 11], [19, 0, 0, 0]]


@pytest.mark.parametrize("name", ["mlp", "neumf", "wide-deep", "two-tower"])
def test_every_dropout_layer_has_a_different_number(name):
    config = ModelConfig(name=name, hidden_units=(8, 4), dropout=0.5)
    model = build_model(config, ModelInputs(num_user_rows=4, num_item_rows=3))
    numbers = [layer.number for layer in model._flatten_layers() if isinstance(layer, Dropout)]
    assert len(numbers) == len(set(numbers)) == (4 if name == "two-tower" else 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wide-deep", "two-tower"])
def test_features_may_have_any_name(name):
    names = ["index", "bias", "embedding", "features", "numbers", "sum", "vector", "tower", "hidden_1", "id"]
    names += ["a/b", "a_b", "a b", "a:b", "é", "%", "a", "a_embedding", "a_x_b", "b_x_a", ""]
    table = pa.table({each: ["x", "y", "x", "y"] for each in names} | {"age": [1, 2, 3, 4]})
    users, items = side_features(table, table, "all")
    inputs = ModelInputs(num_user_rows=5, num_item_rows=5, read_features=lambda: (users, items))
    model = build_model(ModelConfig(name=name, hidden_units=(4,)), inputs)
    assert (towers_of(model) is not None) == (name == "two-tower")
    assert len({variable.path for variable in model.variables}) == len(model.variables)
    index = tf.constant([0, 1, 4])
    # In a graph, where TensorFlow restricts the characters of names.
    score = tf.function(lambda: model({"user_index": index, "item_index": index}), autograph=False)
    assert np.isfinite(score()).all()


def test_features_are_selected_by_name_and_unknown_names_refused():
    users, items = side_features(USER_TABLE, ITEM_TABLE, "genres")
    assert (users.names, items.names) == ((), ("genres",))
    assert side_features(USER_TABLE, ITEM_TABLE, "none")[0].names == no_features().names
    with pytest.raises(UserError, match="the data has the side features age, genres, job, got 'year'"):
        side_features(USER_TABLE, ITEM_TABLE, "genres,year")
