"""The single-device run against an independent NumPy implementation: model, gradients, Adam, batches."""

import keras
import numpy as np
import pytest

import runs
from data_pipeline.dataset import open_dataset
from trainer.config import ModelConfig
from trainer.models import build_model

BATCH = 64
NUM_TRAIN = 30 * BATCH + 7
SETTINGS = {
    "train.global_batch_size": BATCH,
    "train.log_every_steps": 1,
    "train.epochs": 2,
    "train.precision": "float64",
    "train.seed": 3,
}

pytestmark = pytest.mark.slow


def initial_weights(dataset):
    """Weights as the run begins with them: [item table, user table, W1, b1, W2, b2, W3, b3]."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        keras.utils.set_random_seed(SETTINGS["train.seed"])
        model = build_model(
            ModelConfig(name="mlp", embedding_dim=5, hidden_units=(128, 32)),
            num_user_rows=len(dataset.user_vocabulary),
            num_item_rows=len(dataset.item_vocabulary),
        )
        names = ("item_embedding", "user_embedding", "hidden_1", "hidden_2", "rating")
        return [np.array(w) for name in names for w in model.get_layer(name).get_weights()]
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def loss_and_gradients(weights, user, item, rating):
    """Mean squared error of the article's model and its gradients, by hand."""
    items, users, w1, b1, w2, b2, w3, b3 = weights
    x = np.concatenate([items[item], users[user]], axis=1)
    h1 = np.maximum(x @ w1 + b1, 0)
    h2 = np.maximum(h1 @ w2 + b2, 0)
    error = (h2 @ w3 + b3)[:, 0] - rating
    d_out = (2 * error / len(rating))[:, None]
    d_h2 = (d_out @ w3.T) * (h2 > 0)
    d_h1 = (d_h2 @ w2.T) * (h1 > 0)
    d_x = d_h1 @ w1.T
    d_items, d_users = np.zeros_like(items), np.zeros_like(users)
    dim = items.shape[1]
    np.add.at(d_items, item, d_x[:, :dim])
    np.add.at(d_users, user, d_x[:, dim:])
    gradients = [
        d_items,
        d_users,
        x.T @ d_h1,
        d_h1.sum(0),
        h1.T @ d_h2,
        d_h2.sum(0),
        h2.T @ d_out,
        d_out.sum(0),
    ]
    return np.mean(error**2), gradients


class Adam:
    """Kingma & Ba 2015 as in section 2's last paragraph, with Keras's epsilon 1e-7."""

    def __init__(self, weights, learning_rate=1e-3):
        self.learning_rate = learning_rate
        self.m = [np.zeros_like(w) for w in weights]
        self.v = [np.zeros_like(w) for w in weights]
        self.t = 0

    def step(self, weights, gradients):
        self.t += 1
        rate = self.learning_rate * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        for w, g, m, v in zip(weights, gradients, self.m, self.v, strict=True):
            m += (g - m) * 0.1
            v += (g * g - v) * 0.001
            w -= rate * m / (np.sqrt(v) + 1e-7)


def test_single_device_equals_numpy_float64(tmp_path):
    path = runs.prepare_generated(tmp_path / "dataset", num_train=NUM_TRAIN)
    dataset = open_dataset(path)
    runs.train(path, tmp_path / "run", SETTINGS)

    train = dataset.columns("train")
    weights = initial_weights(dataset)
    adam = Adam(weights)
    expected_losses = {}
    for epoch in range(SETTINGS["train.epochs"]):
        generator = np.random.RandomState(
            np.random.MT19937(np.random.SeedSequence([SETTINGS["train.seed"], epoch]))
        )
        order = generator.permutation(NUM_TRAIN)
        for begin in range(0, NUM_TRAIN, BATCH):
            rows = order[begin : begin + BATCH]
            batch = (train.user_index[rows], train.item_index[rows], train.rating[rows].astype(np.float64))
            loss, gradients = loss_and_gradients(weights, *batch)
            adam.step(weights, gradients)
            expected_losses[adam.t] = loss

    assert adam.t == 62
    assert runs.largest_difference(runs.losses(tmp_path / "run"), expected_losses) <= 1e-10
    trained = runs.weights(tmp_path / "run")
    for number, expected in enumerate(weights):
        found = trained[f"optimizer/_trainable_variables/{number}/.ATTRIBUTES/VARIABLE_VALUE"]
        assert np.abs(found - expected).max() <= 1e-10


def test_the_references_gradients_equal_finite_differences():
    """So that the reference itself is not taken on trust."""
    rng = np.random.default_rng(0)
    shapes = [(7, 2), (6, 2), (4, 5), (5,), (5, 3), (3,), (3, 1), (1,)]
    weights = [rng.normal(size=shape) for shape in shapes]
    batch = (rng.integers(0, 6, 9), rng.integers(0, 7, 9), rng.normal(size=9))
    _, gradients = loss_and_gradients(weights, *batch)
    for weight, gradient in zip(weights, gradients, strict=True):
        for position in np.ndindex(weight.shape):
            kept = weight[position]
            weight[position] = kept + 1e-6
            above, _ = loss_and_gradients(weights, *batch)
            weight[position] = kept - 1e-6
            below, _ = loss_and_gradients(weights, *batch)
            weight[position] = kept
            assert gradient[position] == pytest.approx((above - below) / 2e-6, abs=1e-6)
