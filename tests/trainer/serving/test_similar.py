"""Vectors of every model, nearest neighbours, and the Parquet files."""

import json

import duckdb
import keras
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import reeltrain
from data_pipeline.config import DataConfig
from data_pipeline.dataset.dataset import open_dataset
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.generated import generate_ratings
from data_pipeline.sources.in_memory import source_of
from launch.cli import cli
from reeltrain.layers import Embedding
from trainer.config import RECIPES, make_config
from trainer.run.build import model_for
from trainer.run.trained_run import Run
from trainer.serving.embeddings import write_embeddings
from trainer.serving.similar import nearest, similar
from trainer.serving.vectors import Vectors, vectors_of

MODELS = ("mf", "mlp", "neumf", "wide-deep", "two-tower")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("similar") / "dataset"
    prepare_dataset(
        source_of(generate_ratings(num_users=60, num_items=90, num_ratings=900, seed=1)), DataConfig(), out
    )
    return open_dataset(out)


def run_of(dataset, model, *settings, own=None):
    """A run with random weights: biases are zeros before training, so all weights are drawn."""
    config = make_config(None, RECIPES, [f"model.name={model}", *settings], None)
    keras.utils.set_random_seed(3)
    built = model_for(config, dataset, own)
    random = np.random.default_rng(5)
    for weight in built.weights:
        weight.assign(random.normal(size=weight.shape))
    return Run(workdir=dataset.path.parent / "run", config=config, dataset=dataset, model=built, step=7)


def all_of(vectors):
    return np.concatenate([block for _, block in vectors.blocks(17)])


@pytest.mark.parametrize("settings", [(), ("model.tables=sparse",)])
@pytest.mark.parametrize("model", ["mf", "two-tower"])
def test_inner_products_of_vectors_are_the_scores_up_to_the_biases(dataset, model, settings):
    run = run_of(dataset, model, "objective.name=bpr", *settings)
    users, items = vectors_of(run, "users"), vectors_of(run, "items")
    scores_UI = all_of(users) @ all_of(items).T + items.offset
    if model == "mf":
        scores_UI += users.biases[:, None] + items.biases
    pairs = [(user, item) for user in users.ids.to_pylist() for item in items.ids.to_pylist()]
    expected = reeltrain.predict(run, pairs)["predicted"].to_numpy()
    np.testing.assert_allclose(scores_UI.ravel(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "tables"),
    [
        ("mf", ["item_embedding"]),
        ("mlp", ["item_embedding"]),
        ("neumf", ["gmf_item_embedding", "mlp_item_embedding"]),
        ("wide-deep", ["item_embedding"]),
    ],
)
def test_vectors_are_rows_of_the_tables_without_the_unknown_one(dataset, model, tables):
    run = run_of(dataset, model)
    vectors = vectors_of(run, "items")
    weights = {weight.path.split("/")[-2]: weight.numpy() for weight in run.model.weights}
    expected = np.concatenate([weights[name][1:] for name in tables], axis=1)
    assert vectors.source.split(" + ") == tables
    np.testing.assert_array_equal(all_of(vectors), expected)
    assert vectors.ids.to_pylist() == dataset.items["item_id"].to_pylist()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("measure", ["cosine", "dot"])
def test_the_nearest_are_those_of_an_independent_reference(dataset, model, measure):
    run = run_of(dataset, model)
    for side in ("users", "items"):
        vectors = vectors_of(run, side)
        matrix = all_of(vectors).astype(np.float64)
        if measure == "cosine":
            from sklearn.neighbors import NearestNeighbors

            found = NearestNeighbors(n_neighbors=len(matrix), metric="cosine", algorithm="brute").fit(matrix)
            distance, order = found.kneighbors(matrix)
            scores = 1 - distance
        else:
            order = np.argsort(-(matrix @ matrix.T), axis=1)
            scores = np.take_along_axis(matrix @ matrix.T, order, axis=1)
        best, found_scores = nearest(vectors, np.arange(len(matrix)), k=8, measure=measure)
        for row in range(len(matrix)):
            others = order[row] != row
            assert best[row].tolist() == order[row][others][:8].tolist()
            # A tower's vectors are float32 and computed twice: they may differ by a rounding.
            np.testing.assert_allclose(found_scores[row], scores[row][others][:8], rtol=1e-6)


def plain_vectors(matrix):
    return Vectors(
        "users", "test", pa.array(range(len(matrix))), None, 2, None, None, lambda index: matrix[index - 1]
    )


def test_ties_are_broken_by_a_hash_and_zero_vectors_are_similar_to_nothing():
    rows = nearest(plain_vectors(np.ones((50, 2), np.float32)), np.arange(50), k=5, measure="cosine")[0]
    assert all(row not in found for row, found in enumerate(rows))
    assert len({item for found in rows for item in found}) > 40  # the lowest indices are not preferred
    zero_first = np.array([[0, 0], [1, 0], [-1, 0], [1, 1]], np.float32)
    found, scores = nearest(plain_vectors(zero_first), np.array([0, 1]), k=3, measure="cosine")
    assert scores[0].tolist() == [0, 0, 0]
    assert found[1].tolist() == [3, 0, 2]


def test_a_list_is_as_long_as_there_are_others(dataset):
    run = run_of(dataset, "mf")
    ids = run.dataset.items["item_id"].to_pylist()
    table = similar(run, item_id=ids[0], k=1000)
    assert sorted(table["item_id"]) == sorted(set(ids) - {ids[0]})
    assert table["score"].is_monotonic_decreasing
    assert list(table.columns) == ["item_id", "title", "score"]
    both = similar(run, item_id=[ids[0], str(ids[1])], k=2)
    pd.testing.assert_frame_equal(both[both["of"] == ids[0]].drop(columns="of"), table.head(2))
    assert list(similar(run, user_id=float(run.dataset.users["user_id"][0].as_py()))) == ["user_id", "score"]


def test_mistakes_are_named(dataset):
    run = run_of(dataset, "mf")
    known = run.dataset.items["item_id"][0].as_py()
    tested = next(i for i in range(1, 91) if i not in set(dataset.items["item_id"].to_pylist()))
    for arguments, message in (
        ({}, "give one of item_id and user_id, got none"),
        ({"item_id": 1, "user_id": 1}, "got both"),
        ({"item_id": known, "k": 0}, "k must be an integer of at least 1, got 0"),
        ({"item_id": known, "k": 2.5}, "k must be an integer of at least 1, got 2.5"),
        ({"item_id": known, "measure": "l2"}, "measure must be cosine or dot, got 'l2'"),
        ({"item_id": "nothing"}, "item_id must be an id of the training rows, got 'nothing'"),
        ({"item_id": tested}, f"must have training rows to have a vector, got {tested}, which is in the "),
        ({"item_id": float("nan")}, "an id must be a whole number or a text, got nan"),
        ({"user_id": []}, "user_id must name at least one id"),
    ):
        with pytest.raises(reeltrain.UserError, match=message):
            similar(run, **arguments)
    with pytest.raises(reeltrain.UserError, match="users of the model bias have no vectors"):
        similar(run_of(dataset, "bias"), user_id=dataset.users["user_id"][0].as_py())


def own(item_table):
    """A model of one's own whose item table is made by `item_table`(inputs, index) inside a nested model."""

    def model(_config, inputs):
        user, item = (keras.Input((), dtype="int32", name=name) for name in ("user_index", "item_index"))
        index = keras.Input((), dtype="int32")
        nested = keras.Model(index, item_table(inputs, index), name="items")
        rows = keras.layers.Concatenate()([Embedding(inputs.num_user_rows, 4, name="u")(user), nested(item)])
        return keras.Model({"user_index": user, "item_index": item}, keras.layers.Dense(1)(rows))

    return model


def test_tables_of_ones_own_model_are_found_or_the_lack_is_named(dataset):
    def found(inputs, index):
        column = keras.layers.Reshape((1,))(index)
        return keras.layers.Flatten()(keras.layers.Embedding(inputs.num_item_rows, 6, name="mine")(column))

    vectors = vectors_of(run_of(dataset, "m:f", own=own(found)), "items")
    assert (vectors.source, vectors.dim, all_of(vectors).shape) == ("mine", 6, (len(vectors), 6))

    def computed(_inputs, index):
        return keras.layers.Dense(3)(keras.ops.cast(index, "float32")[:, None])

    with pytest.raises(reeltrain.UserError, match="that item_index looks up"):
        vectors_of(run_of(dataset, "m:f", own=own(computed)), "items")


def test_pandas_polars_and_duckdb_read_the_files(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.serving.vectors.BLOCK_ROWS", 16)
    run = run_of(dataset, "mf")
    files = write_embeddings(run, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["items.parquet", "users.parquet"]
    expected = reeltrain.embeddings(run, "items")
    matrix = all_of(vectors_of(run, "items"))
    np.testing.assert_array_equal(np.stack(expected["vector"]), matrix)
    np.testing.assert_array_equal(np.stack(pd.read_parquet(files["items"])["vector"]), matrix)
    frame = pl.read_parquet(files["items"])
    assert frame.schema["vector"] == pl.Array(pl.Float32, matrix.shape[1])
    np.testing.assert_array_equal(frame["vector"].to_numpy(), matrix)
    rows = duckdb.sql(f"select item_id, title, vector from '{files['items']}'").fetchall()
    assert [row[0] for row in rows] == expected["item_id"].tolist()
    assert [row[1] for row in rows] == expected["title"].tolist()
    np.testing.assert_array_equal(np.array([row[2] for row in rows], np.float32), matrix)
    about = json.loads(pq.read_schema(files["users"]).metadata[b"reeltrain"])
    assert about["model"] == "mf"
    assert about["step"] == 7
    assert about["fingerprint"] == dataset.fingerprint


def test_files_are_never_overwritten_unasked(dataset, tmp_path):
    run = run_of(dataset, "mlp")
    (tmp_path / "items.parquet").write_text("precious")
    for out, side in ((tmp_path, None), (tmp_path / "items.parquet", "items")):
        with pytest.raises(reeltrain.UserError, match="must not exist unless overwrite=True is given"):
            write_embeddings(run, out, side=side)
    assert [path.name for path in tmp_path.iterdir()] == ["items.parquet"]
    assert (tmp_path / "items.parquet").read_text() == "precious"
    for out, message in (
        (tmp_path / "one.parquet", "a file holds one side"),
        (tmp_path / "one.csv", "a file that ends in .parquet, got"),
        (tmp_path / "no" / "folder", "must be in an existing folder"),
        (tmp_path / "items.parquet" / "in", "must be in an existing folder"),
    ):
        with pytest.raises(reeltrain.UserError, match=message):
            write_embeddings(run, out)
    write_embeddings(run, tmp_path / "items.parquet", side="items", overwrite=True)
    assert pq.read_metadata(tmp_path / "items.parquet").num_rows == len(dataset.items)


def test_the_command_line_lists_and_writes(dataset, tmp_path, monkeypatch):
    run = run_of(dataset, "mf")
    monkeypatch.setattr("trainer.run.trained_run.load_run", lambda *_, **__: run)
    monkeypatch.setattr("launch.verbs.similar.existing_run", lambda *_: tmp_path)
    monkeypatch.setattr("launch.verbs.embeddings.existing_run", lambda *_: tmp_path)
    one, two = (str(i) for i in dataset.items["item_id"].to_pylist()[:2])

    def invoke(*arguments):
        return CliRunner().invoke(cli, [str(each) for each in arguments])

    done = invoke("similar", tmp_path, "--item", one, "--item", two, "--item", one, "-k", 3, "--json")
    results = json.loads(done.stdout)["results"]
    expected = similar(run, item_id=one, k=3).to_dict("records")
    assert [each["item_id"] for each in results] == [one, two]
    assert results[0]["similar"] == expected
    text = invoke("similar", tmp_path, "--item", one, "-k", 500).stdout
    assert f"item {one}: the most similar items by cosine" in text
    assert expected[0]["title"] in text
    assert f"only {len(dataset.items) - 1} of 500: there are no other items" in text
    assert invoke("similar", tmp_path, "--item", one, "-k", 0).exit_code == 2
    assert invoke("similar", tmp_path).exit_code == 2
    done = invoke("embeddings", tmp_path, "--out", tmp_path / "out", "--json")
    assert json.loads(done.stdout)["files"]["users"] == str(tmp_path / "out" / "users.parquet")


def test_memory_of_scores_is_bounded_for_a_large_catalogue():
    """Blocks of vectors are scored one by one; the list is that of all at once."""
    random = np.random.default_rng(0)
    matrix = random.normal(size=(70_000, 2)).astype(np.float32)
    found, _ = nearest(plain_vectors(matrix), np.array([3]), k=4, measure="dot")
    scores = matrix.astype(np.float64) @ matrix[3].astype(np.float64)
    scores[3] = -np.inf
    assert found[0].tolist() == np.argsort(-scores)[:4].tolist()
