"""The NumPy reference of `verify` against finite differences, figures by hand and a real run."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from data_pipeline.dataset.dataset import open_dataset
from support import runs
from trainer.config import ModelConfig, OptimizerConfig, make_config
from trainer.config.recipes import RECIPES
from trainer.verification import reference
from trainer.verification.verify import initial_weights

MODEL = ModelConfig(embedding_dim=2, hidden_units=(5, 3), dropout=0.4, embedding_l2=0.3)
TABLE, BIAS = "user_embedding/embeddings", "hidden_1/bias"


def some_weights(rng):
    shapes = {
        "item_embedding/embeddings": (7, 2),
        "user_embedding/embeddings": (6, 2),
        "hidden_1/kernel": (4, 5),
        "hidden_1/bias": (5,),
        "hidden_2/kernel": (5, 3),
        "hidden_2/bias": (3,),
        "rating/kernel": (3, 1),
        "rating/bias": (1,),
    }
    return {path: rng.normal(size=shape) for path, shape in shapes.items()}


def some_batch(rng, rows=9):
    """A batch with repeated ids, different weights and one padding row."""
    weight = rng.uniform(0.1, 3, rows)
    weight[-1] = 0
    return reference.Batch(rng.integers(0, 6, rows), rng.integers(0, 7, rows), rng.normal(size=rows), weight)


def test_gradients_equal_finite_differences():
    rng = np.random.default_rng(0)
    weights, batch = some_weights(rng), some_batch(rng)
    keep = reference.dropout_masks(MODEL, 9, seed=1, step=2)
    assert any((mask == 0).any() and (mask > 0).any() for mask in keep)
    _, gradients = reference.loss_and_gradients(weights, batch, MODEL, keep)
    for path, weight in weights.items():
        for position in np.ndindex(weight.shape):
            kept = weight[position]
            weight[position] = kept + 1e-6
            above, _ = reference.loss_and_gradients(weights, batch, MODEL, keep)
            weight[position] = kept - 1e-6
            below, _ = reference.loss_and_gradients(weights, batch, MODEL, keep)
            weight[position] = kept
            assert gradients[path][position] == pytest.approx((above - below) / 2e-6, abs=1e-6)


def test_the_loss_is_the_weighted_mean_of_squared_errors_and_l2_penalties():
    rng = np.random.default_rng(1)
    weights, batch = some_weights(rng), some_batch(rng)
    keep = reference.dropout_masks(MODEL, 9, seed=1, step=2)
    total = 0.0
    for i in range(9):
        item = weights["item_embedding/embeddings"][batch.item_index[i]]
        user = weights["user_embedding/embeddings"][batch.user_index[i]]
        x = [*item, *user]
        for layer, mask in zip(("hidden_1", "hidden_2"), keep, strict=True):
            kernel, bias = weights[f"{layer}/kernel"], weights[f"{layer}/bias"]
            sums = [
                sum(a * w for a, w in zip(x, kernel[:, j], strict=True)) + bias[j] for j in range(len(bias))
            ]
            x = [max(value, 0) * mask[i, j] for j, value in enumerate(sums)]
        predicted = sum(a * w for a, w in zip(x, weights["rating/kernel"][:, 0], strict=True))
        error = predicted + weights["rating/bias"][0] - batch.rating[i]
        norms = sum(value**2 for value in (*item, *user))
        total += batch.weight[i] * (error**2 + 0.3 * norms)
    loss, _ = reference.loss_and_gradients(weights, batch, MODEL, keep)
    assert loss == pytest.approx(total / sum(batch.weight), rel=1e-12)


def mix(bits):
    """lowbias32 with Python integers."""
    bits ^= bits >> 16
    bits = bits * 0x7FEB352D % 2**32
    bits ^= bits >> 15
    bits = bits * 0x846CA68B % 2**32
    return bits ^ bits >> 16


def test_dropout_masks_equal_bits_computed_in_python():
    seed, step, dropout = 4_000_000_000, 77, 0.4
    masks = reference.dropout_masks(dataclasses.replace(MODEL, dropout=dropout), 6, seed=seed, step=step)
    for number, mask in enumerate(masks, start=1):
        for row in range(6):
            row_bits = mix((mix((mix(seed) + step) % 2**32) + row) % 2**32) ^ number
            for unit in range(mask.shape[1]):
                bits = mix(row_bits ^ unit * 0x9E3779B9 % 2**32)
                is_kept = bits >= round(dropout * 2**32)
                assert mask[row, unit] == (pytest.approx(1 / 0.6) if is_kept else 0)


def step_of(config, *, weights, gradients, batch, times=1, sparse=False):
    """The weights after `times` equal steps."""
    weights = {path: np.array(value, float) for path, value in weights.items()}
    optimizer = reference.Optimizer(config, weights, sparse_tables={TABLE} if sparse else ())
    for _ in range(times):
        optimizer.step(weights, {path: np.array(g, float) for path, g in gradients.items()}, batch)
    return weights


def batch_of(users):
    return reference.Batch(
        np.array(users), np.zeros(len(users), int), np.zeros(len(users)), np.ones(len(users))
    )


def test_adam_moves_by_the_learning_rate_if_the_gradient_is_constant():
    after = step_of(
        OptimizerConfig(learning_rate=0.1),
        weights={BIAS: [1.0, 1.0]},
        gradients={BIAS: [5.0, -0.01]},
        batch=batch_of([0]),
        times=3,
    )
    assert after[BIAS] == pytest.approx([0.7, 1.3], abs=1e-4)


def test_sgd_accumulates_momentum():
    config = OptimizerConfig(name="sgd", learning_rate=0.1, momentum=0.5)
    after = step_of(config, weights={BIAS: [1.0]}, gradients={BIAS: [2.0]}, batch=batch_of([0]), times=3)
    assert after[BIAS] == pytest.approx([1 - 0.2 - 0.3 - 0.35])


def test_adagrad_is_elementwise_and_in_tables_row_wise():
    config = OptimizerConfig(name="adagrad", learning_rate=0.1)
    after = step_of(
        config,
        weights={BIAS: [1.0, 1.0], TABLE: [[1.0, 1.0]]},
        gradients={BIAS: [3.0, 4.0], TABLE: [[3.0, 4.0]]},
        batch=batch_of([0]),
    )
    assert after[BIAS] == pytest.approx([1 - 0.3 / 9.1**0.5, 1 - 0.4 / 16.1**0.5], rel=1e-7)
    assert after[TABLE][0] == pytest.approx([1 - 0.3 / 12.6**0.5, 1 - 0.4 / 12.6**0.5], rel=1e-7)


def test_clipping_scales_all_gradients_by_their_global_norm():
    config = OptimizerConfig(name="sgd", learning_rate=1.0, global_clipnorm=2.5)
    long = {BIAS: [3.0], TABLE: [[4.0]]}
    after = step_of(config, weights={BIAS: [0.0], TABLE: [[0.0]]}, gradients=long, batch=batch_of([0]))
    assert (after[BIAS][0], after[TABLE][0, 0]) == (-1.5, -2.0)
    short = {BIAS: [0.3], TABLE: [[0.4]]}
    after = step_of(config, weights={BIAS: [0.0], TABLE: [[0.0]]}, gradients=short, batch=batch_of([0]))
    assert (after[BIAS][0], after[TABLE][0, 0]) == (-0.3, -0.4)


def test_weight_decay_is_applied_before_the_update():
    config = OptimizerConfig(name="sgd", learning_rate=0.1, weight_decay=0.5)
    after = step_of(config, weights={BIAS: [2.0]}, gradients={BIAS: [1.0]}, batch=batch_of([0]))
    assert after[BIAS] == pytest.approx([2.0 * 0.95 - 0.1])


@pytest.mark.parametrize("name", ["adam", "adagrad", "sgd"])
def test_a_sparse_table_changes_only_in_the_rows_of_the_batch(name):
    """Weight decay, too, is applied to these rows only; a dense table decays in all rows."""
    config = OptimizerConfig(name=name, learning_rate=0.1, weight_decay=0.5, momentum=0.5)
    inputs = {"weights": {TABLE: np.ones((4, 2))}, "gradients": {TABLE: np.zeros((4, 2))}}
    decayed = 1 - 0.1 * 0.5
    sparse = step_of(config, **inputs, batch=batch_of([2, 2, 0]), sparse=True)[TABLE]
    assert np.array_equal(sparse[:, 0], [decayed, 1, decayed, 1])
    dense = step_of(config, **inputs, batch=batch_of([2, 2, 0]))[TABLE]
    assert np.array_equal(dense, np.full((4, 2), decayed))


def test_lazy_adam_counts_all_steps_and_keeps_rows_outside_the_batch():
    weights = {TABLE: np.zeros((2, 1))}
    optimizer = reference.Optimizer(OptimizerConfig(learning_rate=0.1), weights, sparse_tables={TABLE})
    gradients = {TABLE: np.array([[1.0], [1.0]])}
    optimizer.step(weights, gradients, batch_of([0]))
    assert weights[TABLE][1] == 0
    optimizer.step(weights, gradients, batch_of([1]))
    rate = Fraction(1, 10) * Fraction(np.sqrt(1 - 0.999**2)) / Fraction(1 - 0.9**2)
    m, v = 0.1, 0.001
    assert weights[TABLE][1, 0] == pytest.approx(-float(rate) * m / (v**0.5 + 1e-7))
    assert weights[TABLE][0, 0] == pytest.approx(-0.1, abs=1e-5)


@pytest.mark.slow
def test_single_device_equals_numpy_float64(tmp_path):
    """Compares without `verify`'s own comparison, so that a mistake in it would be noticed."""
    path = runs.prepare_generated(tmp_path / "dataset", num_train=30 * 64 + 7, num_validation=50)
    settings = {
        "train.global_batch_size": 64,
        "train.log_every_steps": 1,
        "train.epochs": 2,
        "train.precision": "float64",
        "train.seed": 3,
    }
    result = runs.train(path, tmp_path / "run", settings)
    config = make_config("article", RECIPES, [f"{key}={value}" for key, value in settings.items()])
    dataset = open_dataset(path)
    expected = reference.train_reference(config, dataset, initial_weights(config, dataset))
    assert len(expected.losses) == 62
    assert runs.largest_difference(runs.losses(tmp_path / "run"), expected.losses) <= 1e-10
    trained = runs.weights(tmp_path / "run")
    for path, weight in expected.weights.items():
        assert np.abs(trained[f"model/{path}"] - weight).max() <= 1e-10
    assert result["train_loss"] == pytest.approx(expected.metrics["train_loss"], abs=1e-10)
    assert result["test_rmse"] == pytest.approx(expected.metrics["test/rmse at step 62"], abs=1e-10)
    assert "validation/mae at step 31" in expected.metrics
