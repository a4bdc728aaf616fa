"""The Python API, in this process, on one device."""

import keras
import numpy as np
import pandas as pd
import pytest

import reeltrain
from data_pipeline.generate import generate_ratings
from trainer.baselines import fit_bias_model
from trainer.metrics import rating_errors

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
    assert reeltrain.recommend(result.run, user, k=3).items.equals(recommendation.items.head(3))


def test_an_unknown_user_gets_the_best_liked_items(result):
    recommendation = reeltrain.recommend(result.run, "nobody", k=5)
    assert not recommendation.known_user
    dataset = result.run.dataset
    train = dataset.columns("train")
    bias = fit_bias_model(
        train, num_user_rows=len(dataset.user_vocabulary), num_item_rows=len(dataset.item_vocabulary)
    )
    best = int(np.argmax(bias.item_bias[1:])) + 1
    assert recommendation.items["item_id"][0] == dataset.items["item_id"][best - 1].as_py()


def test_k_below_one_is_refused(result):
    with pytest.raises(reeltrain.UserError, match="k must be at least 1, got 0"):
        reeltrain.recommend(result.run, 1, k=0)


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
