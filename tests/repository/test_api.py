"""The Python API, in this process, on one device."""

import dataclasses

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import reeltrain
from data_pipeline.sources.generated import generate_ratings
from trainer.evaluation.rating_metrics import rating_errors

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def frame():
    return generate_ratings(num_users=60, num_items=90, num_ratings=2400, seed=1).table.to_pandas()


@pytest.fixture(scope="module")
def result(frame, tmp_path_factory):
    settings = {"train.epochs": 8, "train.global_batch_size": 32, "model.hidden_units": (16, 8)}
    workdir = tmp_path_factory.mktemp("api") / "run"
    return reeltrain.train(frame, settings=settings, workdir=workdir, quiet=True)


def test_training_beats_the_global_mean(result):
    evaluation = reeltrain.evaluate(result.workdir)
    assert evaluation.test["rmse"] == pytest.approx(result.test_rmse)
    assert evaluation.test["rmse"] < evaluation.baselines["global_mean"]["rmse"]
    assert "480 test rows" in evaluation.protocol


def test_the_trained_run_and_its_workdir_predict_the_same(result):
    from_memory = reeltrain.predict(result.run)
    from_disk = reeltrain.predict(result.workdir)
    pd.testing.assert_frame_equal(from_memory, from_disk)
    assert len(from_memory) == 10
    assert from_memory["predicted"].between(1, 5).all()


def test_predictions_carry_the_actual_ratings_of_the_test_rows(result, frame):
    table = reeltrain.predict(result.run)
    known = frame.set_index(["user_id", "item_id"])["rating"]
    actual = [known[pair] for pair in zip(table["user_id"], table["item_id"], strict=True)]
    assert table["actual"].tolist() == actual


def test_ids_given_as_text_are_the_same_ids(result, frame):
    user, item = int(frame["user_id"][0]), int(frame["item_id"][0])
    as_numbers = reeltrain.predict(result.run, [(user, item)])
    as_text = reeltrain.predict(result.run, [(str(user), str(item))])
    assert as_numbers["predicted"].tolist() == as_text["predicted"].tolist()
    assert as_text["known_user"].all()


def test_unknown_ids_are_predicted_and_marked(result):
    table = reeltrain.predict(result.run, pd.DataFrame({"user_id": ["nobody", "1"], "item_id": [-5, 2**62]}))
    assert table["predicted"].between(1, 5).all()
    assert table["known_user"].tolist() == [False, True]
    assert table["known_item"].tolist() == [False, False]


def test_recommendations_are_the_best_of_what_the_user_has_not_rated(result, frame):
    user = int(frame["user_id"][0])
    recommendation = reeltrain.recommend(result.run, user, k=1000)
    rated = set(frame.loc[frame["user_id"] == user, "item_id"])
    in_training = set(result.run.dataset.items["item_id"].to_pylist())
    assert set(recommendation.items["item_id"]) == in_training - rated
    pairs = [(user, item) for item in recommendation.items["item_id"]]
    predicted = reeltrain.predict(result.run, pairs)["predicted"]
    np.testing.assert_allclose(recommendation.items["score"].clip(1, 5), predicted, rtol=1e-5)
    assert recommendation.items["score"].is_monotonic_decreasing
    # Of fewer rows the scores are rounded otherwise.
    three = reeltrain.recommend(result.run, user, k=3).items
    pd.testing.assert_frame_equal(three, recommendation.items.head(3), rtol=1e-5)


def test_an_unknown_user_gets_the_best_liked_items(result):
    """Those that most exceed what their raters give otherwise: the sweeps again, in pandas."""
    recommendation = reeltrain.recommend(result.run, "nobody", k=5)
    assert not recommendation.known_user
    dataset = result.run.dataset
    train = pd.concat(dataset.with_raw_ids(b).to_pandas() for b in dataset.table("train").to_batches())
    train = train.reset_index(drop=True)
    residual = train["rating"] - train["rating"].mean()
    user = 0.0
    for _ in range(6):
        item = residual_means(residual - user, train["item_id"], 5)
        user = residual_means(residual - item, train["user_id"], 3)
    by_item = item.groupby(train["item_id"]).first().sort_values(ascending=False)
    assert recommendation.items["item_id"].tolist() == by_item.index[:5].tolist()


def residual_means(residual, ids, shrinkage):
    """Shrunk mean of each row's group."""
    groups = residual.groupby(ids)
    return groups.transform("sum") / (groups.transform("count") + shrinkage)


def test_missing_titles_stay_missing(frame, tmp_path):
    ids = sorted(frame["item_id"].unique())
    ratings = dataclasses.replace(
        generate_ratings(num_users=60, num_items=90, num_ratings=2400, seed=1),
        items=pa.table({"item_id": ids[::2], "title": [f"Title {i}" for i in ids[::2]]}),
    )
    result = reeltrain.train(ratings, settings={"train.epochs": 1}, workdir=tmp_path, quiet=True)
    items = reeltrain.recommend(result.run, 1, k=1000).items.to_dict("records")
    with_title = set(ids[::2])
    assert {item["item_id"]: item["title"] for item in items} == {
        item["item_id"]: f"Title {item['item_id']}" if item["item_id"] in with_title else None
        for item in items
    }
    assert None in [item["title"] for item in items]


def test_ids_of_a_frame_mean_the_same_when_predicting(result):
    """pandas leaves whole numbers as floats where a column has had gaps."""
    as_floats = pd.DataFrame({"user_id": [1.0, 2.0], "item_id": [3.0, 4.0]})
    table = reeltrain.predict(result.run, as_floats)
    expected = reeltrain.predict(result.run, [(1, 3), (2, 4)])
    assert table["known_user"].all()
    assert table["predicted"].tolist() == expected["predicted"].tolist()


def test_a_dataset_that_stands_in_the_workdir_is_used_or_refused_but_never_deleted(frame, tmp_path):
    dataset = reeltrain.prepare(frame, tmp_path / "run" / "dataset")
    other = frame.assign(rating=frame["rating"].to_numpy()[::-1])
    with pytest.raises(reeltrain.UserError, match="holds other data or another split"):
        reeltrain.train(other, workdir=tmp_path / "run", quiet=True)
    result = reeltrain.train(frame, settings={"train.epochs": 1}, workdir=tmp_path / "run", quiet=True)
    assert result.run.dataset.fingerprint == dataset.fingerprint


def test_a_foreign_dataset_folder_is_left_alone(frame, tmp_path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "manifest.json").write_text("{}")
    with pytest.raises(reeltrain.UserError, match="not a reeltrain manifest"):
        reeltrain.train(frame, workdir=tmp_path, quiet=True)
    assert (tmp_path / "dataset" / "manifest.json").read_text() == "{}"


def test_a_foreign_config_json_is_refused(frame, tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": []}')
    with pytest.raises(reeltrain.UserError, match=r"must be the config\.json of a reeltrain run"):
        reeltrain.train(frame, workdir=tmp_path, quiet=True)


def test_without_data_a_workdirs_run_goes_on_with_its_own(frame, tmp_path):
    settings = {"data.validation_fraction": 0.1, "train.epochs": 1}
    first = reeltrain.train(frame, settings=settings, workdir=tmp_path, quiet=True)
    more = {"train.epochs": 2}
    assert reeltrain.train(settings=settings | more, workdir=tmp_path, quiet=True).step == 2 * first.step
    assert reeltrain.train(settings=more, workdir=tmp_path, quiet=True).step == 2 * first.step
    with pytest.raises(reeltrain.UserError, match=r"started with data.validation_fraction=0.1, got 0.2"):
        reeltrain.train(settings={"data.validation_fraction": 0.2}, workdir=tmp_path, quiet=True)


def test_fewer_epochs_than_trained_are_refused_and_change_nothing(frame, tmp_path):
    reeltrain.train(frame, settings={"train.epochs": 2}, workdir=tmp_path, quiet=True)
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(reeltrain.UserError, match=r"train.epochs \(1: .* must not be less"):
        reeltrain.train(frame, settings={"train.epochs": 1}, workdir=tmp_path, quiet=True)
    assert (tmp_path / "config.json").read_text() == before


def test_a_run_goes_on_only_in_the_precision_that_it_was_begun_in(frame, tmp_path, monkeypatch):
    from trainer.run import devices

    reeltrain.train(frame, settings={"train.epochs": 1}, workdir=tmp_path, quiet=True)
    monkeypatch.setattr(devices, "_choose_precision", lambda _wanted, _gpus: "mixed_bfloat16")
    try:
        with pytest.raises(
            reeltrain.UserError, match="started in float32, got mixed_bfloat16; give settings="
        ):
            reeltrain.train(frame, settings={"train.epochs": 2}, workdir=tmp_path, quiet=True)
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_run_below_a_symlink_finds_its_dataset(frame, tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "far" / "away")
    dataset = reeltrain.prepare(frame, tmp_path / "prepared")
    reeltrain.train(dataset, settings={"train.epochs": 1}, workdir=tmp_path / "runs" / "x", quiet=True)
    assert reeltrain.load_run(tmp_path / "runs" / "x").dataset.fingerprint == dataset.fingerprint


def test_k_below_one_is_refused(result):
    with pytest.raises(reeltrain.UserError, match="k must be an integer of at least 1, got 0"):
        reeltrain.recommend(result.run, 1, k=0)
    with pytest.raises(reeltrain.UserError, match=r"k must be an integer of at least 1, got 2\.5"):
        reeltrain.recommend(result.run, 1, k=2.5)


@pytest.mark.parametrize("pair", [1, (1,), (1, 2, 3), "12"])
def test_pairs_that_are_not_pairs_are_refused(result, pair):
    with pytest.raises(reeltrain.UserError, match=r"pairs must be \(user_id, item_id\) pairs, got "):
        reeltrain.predict(result.run, [(1, 2), pair])


def test_keras_callbacks_see_the_run_and_can_stop_it(frame, tmp_path):
    class Spy(keras.callbacks.Callback):
        epochs, batches = [], 0

        def on_train_batch_end(self, _batch, logs=None):
            assert np.isfinite(logs["loss"])
            self.batches += 1

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append((epoch, sorted(logs)))
            self.model.stop_training = epoch == 2

    spy = Spy()
    settings = {"train.epochs": 10, "train.steps_per_loop": 20, "train.global_batch_size": 32}
    stopped = reeltrain.train(frame, settings=settings, workdir=tmp_path, callbacks=[spy], quiet=True)
    steps_per_epoch = -(-1824 // 32)
    assert stopped.step == 3 * steps_per_epoch
    assert spy.batches == 3 * -(-steps_per_epoch // 20)
    assert spy.epochs == [(e, ["loss", "val_loss", "val_mae", "val_rmse"]) for e in range(3)]


def test_early_stoppings_best_weights_are_what_is_saved(frame, tmp_path):
    """A learning rate that makes it worse and worse: the weights of the first epoch must come back."""
    early = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    settings = {"train.epochs": 50, "optimizer.learning_rate": 0.02, "train.global_batch_size": 32}
    result = reeltrain.train(frame, settings=settings, workdir=tmp_path, callbacks=[early], quiet=True)
    assert early.stopped_epoch > 0
    rows = result.run.dataset.columns("validation")
    predicted = reeltrain.load_run(tmp_path).scorer(rows.user_index, rows.item_index)
    assert np.mean((predicted - rows.rating) ** 2) == pytest.approx(early.best, rel=1e-4)


def test_a_diverging_run_stops_and_names_the_step(frame, tmp_path):
    settings = {"optimizer.name": "sgd", "optimizer.learning_rate": 1e6}
    with pytest.raises(FloatingPointError, match=r"the loss must be finite, got .* at step \d+"):
        reeltrain.train(frame, settings=settings, workdir=tmp_path, quiet=True)


def test_prepared_data_trains_to_the_same_result_as_raw(frame, tmp_path):
    settings = {"train.epochs": 1, "train.global_batch_size": 32}
    dataset = reeltrain.prepare(frame, tmp_path / "dataset")
    prepared = reeltrain.train(dataset.path, settings=settings, workdir=tmp_path / "a", quiet=True)
    raw = reeltrain.train(frame, settings=settings, workdir=tmp_path / "b", quiet=True)
    assert prepared.test_rmse == raw.test_rmse
    with pytest.raises(reeltrain.UserError, match="its split is fixed"):
        reeltrain.train(dataset.path, settings={"data.split_seed": 1}, workdir=tmp_path / "c")


def test_an_index_outside_of_the_table_is_an_error(result):
    with pytest.raises(ValueError, match="item_index must be within"):
        result.run.scorer(np.array([1], np.int32), np.array([10_000], np.int32))


def test_errors_are_clipped_to_the_scale():
    errors = rating_errors(np.array([7.0, -3.0, 3.0]), np.array([5, 1, 2]), scale=(1, 5))
    assert errors == {"rmse": pytest.approx((1 / 3) ** 0.5), "mae": pytest.approx(1 / 3)}
