"""A second implementation of training, in NumPy and float64, against which `verify` checks the first.

Written from the formulas, to be read. It shares with `trainer` only the settings and the random bits, and
with `data_pipeline` the order of the rows; errors are scikit-learn's. The loss of a step over its rows i is

    sum_i w_i [ (predicted_i - rating_i)^2 + embedding_l2 (|user row_i|^2 + |item row_i|^2) ] / sum_i w_i
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from data_pipeline.batches.order import BatchOrder
from data_pipeline.batches.windows import StepBlock
from data_pipeline.dataset.columns import Columns
from data_pipeline.dataset.dataset import PreparedDataset
from trainer.config import Config, ModelConfig, OptimizerConfig
from trainer.stateless_random import row_bits, unit_bits

USER, ITEM = "user_embedding/", "item_embedding/"


@dataclass(frozen=True)
class Batch:
    """One global batch, every column [global_batch_size]; padding rows have index and weight 0."""

    user_index: np.ndarray
    item_index: np.ndarray
    rating: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class ReferenceRun:
    """The expected result of a run.

    Attributes:
        losses: trained steps -> the loss of the last of them.
        weights: path of a Keras variable -> its value.
        slots: the same path -> the optimizer's values for it, in Keras's order.
        metrics: named as in `trainer.verification.layouts.Outcome`.
    """

    losses: dict[int, float]
    weights: dict[str, np.ndarray]
    slots: dict[str, list[np.ndarray]]
    metrics: dict[str, float]


def knows(config: Config) -> bool:
    """Whether this implementation supports the model and the objective."""
    return config.model.name == "mlp" and config.objective.name == "mse"


def train_reference(
    config: Config, dataset: PreparedDataset, weights: Mapping[str, np.ndarray]
) -> ReferenceRun:
    """Trains `config.train.epochs` epochs.

    Args:
        weights: initial values, path of a Keras variable -> value; they are copied.
    """
    assert knows(config)
    weights = {path: np.array(value, np.float64) for path, value in weights.items()}
    sparse = {
        path
        for path, weight in weights.items()
        if path.startswith((USER, ITEM)) and config.model.is_sparse(len(weight))
    }
    optimizer = Optimizer(config.optimizer, weights, sparse_tables=sparse)
    train = dataset.columns("train")
    order = BatchOrder(len(train), config.train.global_batch_size, config.train.seed)
    losses: dict[int, float] = {}
    metrics: dict[str, float] = {}
    for step in range(config.train.epochs * order.steps_per_epoch):
        epoch, epoch_step = divmod(step, order.steps_per_epoch)
        rows = order.rows(StepBlock(epoch, epoch_step, 1), block_steps=1, shard=0, num_shards=1)[0]
        batch = _batch(train, rows)
        keep = dropout_masks(config.model, len(rows), seed=config.train.seed, step=step)
        losses[step + 1], gradients = loss_and_gradients(weights, batch, config.model, keep)
        optimizer.step(weights, gradients, batch)
        if epoch_step + 1 == order.steps_per_epoch:
            for name, value in _errors(weights, config.model, dataset, "validation").items():
                metrics[f"validation/{name} at step {step + 1}"] = value
    last_step = len(losses)
    for name, value in _errors(weights, config.model, dataset, "test").items():
        metrics[f"test/{name} at step {last_step}"] = value
    epoch_losses = list(losses.values())[-order.steps_per_epoch :]
    return ReferenceRun(
        losses, weights, optimizer.slots, metrics | {"train_loss": float(np.mean(epoch_losses))}
    )


def dropout_masks(config: ModelConfig, num_rows: int, *, seed: int, step: int) -> list[np.ndarray]:
    """The factors of each hidden layer's outputs: 0 or 1 / (1 - dropout), [num_rows, units].

    Unit j of row i of the global batch is dropped if its random 32-bit number is below dropout x 2^32; `step`
    counts from the start of the run.
    """
    seeds, steps = np.array([seed], np.uint32), np.array([step], np.uint32)
    rows = row_bits(seeds, steps, np.arange(num_rows, dtype=np.uint32))
    masks = []
    for number, units in enumerate(config.hidden_units, start=1):
        bits = unit_bits(rows ^ np.uint32(number), np.arange(units, dtype=np.uint32))
        masks.append((bits >= round(config.dropout * 2**32)) / (1 - config.dropout))
    return masks


def loss_and_gradients(
    weights: Mapping[str, np.ndarray], batch: Batch, config: ModelConfig, keep: list[np.ndarray]
) -> tuple[float, dict[str, np.ndarray]]:
    """The loss of one step, and its gradient for every weight; `keep` comes from `dropout_masks`."""
    share = batch.weight / batch.weight.sum()
    user_path, item_path = _table(weights, USER), _table(weights, ITEM)
    users, items = weights[user_path][batch.user_index], weights[item_path][batch.item_index]

    inputs, slopes = [np.concatenate([items, users], axis=1)], []
    for number in range(1, len(config.hidden_units) + 1):
        before = inputs[-1] @ weights[f"hidden_{number}/kernel"] + weights[f"hidden_{number}/bias"]
        slopes.append((before > 0) * keep[number - 1])
        inputs.append(before * slopes[-1])
    predicted = inputs[-1] @ weights["rating/kernel"] + weights["rating/bias"]
    error = predicted[:, 0] - batch.rating
    squares = (users**2).sum(axis=1) + (items**2).sum(axis=1)
    loss = share @ (error**2 + config.embedding_l2 * squares)

    gradients = {path: np.zeros_like(weight) for path, weight in weights.items()}
    behind = (2 * share * error)[:, None]
    gradients["rating/kernel"], gradients["rating/bias"] = inputs[-1].T @ behind, behind.sum(axis=0)
    behind = behind @ weights["rating/kernel"].T
    for number in range(len(config.hidden_units), 0, -1):
        behind = behind * slopes[number - 1]
        gradients[f"hidden_{number}/kernel"] = inputs[number - 1].T @ behind
        gradients[f"hidden_{number}/bias"] = behind.sum(axis=0)
        behind = behind @ weights[f"hidden_{number}/kernel"].T
    decay = 2 * config.embedding_l2 * share[:, None]
    np.add.at(gradients[item_path], batch.item_index, behind[:, : items.shape[1]] + decay * items)
    np.add.at(gradients[user_path], batch.user_index, behind[:, items.shape[1] :] + decay * users)
    return float(loss), gradients


class Optimizer:
    """Clipping, weight decay and the update itself, in this order.

        g *= clipnorm / max(|all g|, clipnorm)
        w -= rate weight_decay w
        adam      m += (g - m) (1 - 0.9),  v += (g^2 - v) (1 - 0.999),
                  w -= rate sqrt(1 - 0.999^t) / (1 - 0.9^t)  m / (sqrt(v) + 1e-7)
        adagrad   a += g^2, initially 0.1; in tables, with one a per row, a += mean of the row's g^2;
                  w -= rate g / sqrt(a + 1e-7)
        sgd       v = momentum v - rate g,  w += v

    In sparse tables everything except clipping applies only to the rows in the batch, including row 0 if the
    batch is padded; t counts all steps. Sources: Kingma & Ba 2015, section 2, last paragraph; Duchi, Hazan &
    Singer 2011; constants are Keras's.

    Args:
        weights: path -> value, used for the shapes.
        sparse_tables: paths of tables of which each step trains only the rows in its batch.
    """

    def __init__(
        self, config: OptimizerConfig, weights: Mapping[str, np.ndarray], *, sparse_tables: Collection[str]
    ) -> None:
        self._config = config
        self._sparse_tables = sparse_tables
        self._t = 0
        self.slots = {path: self._new_slots(path, weight) for path, weight in weights.items()}

    def step(self, weights: dict[str, np.ndarray], gradients: Mapping[str, np.ndarray], batch: Batch) -> None:
        """Changes the weights in place."""
        self._t += 1
        scale = 1.0
        if self._config.global_clipnorm is not None:
            norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients.values()))
            scale = self._config.global_clipnorm / max(norm, self._config.global_clipnorm)
        rate = self._config.learning_rate
        for path, weight in weights.items():
            rows: np.ndarray | slice = slice(None)
            if path in self._sparse_tables:
                rows = np.unique(batch.user_index if path.startswith(USER) else batch.item_index)
            slots = [slot[rows] for slot in self.slots[path]]
            change, slots = self._change(path, scale * gradients[path][rows], slots)
            weight[rows] = weight[rows] * (1 - rate * self._config.weight_decay) + change
            for slot, value in zip(self.slots[path], slots, strict=True):
                slot[rows] = value

    def _new_slots(self, path: str, weight: np.ndarray) -> list[np.ndarray]:
        if self._config.name == "adam":
            return [np.zeros_like(weight), np.zeros_like(weight)]
        if self._config.name == "adagrad":
            return [np.full((len(weight), 1) if path.startswith((USER, ITEM)) else weight.shape, 0.1)]
        return [np.zeros_like(weight)] if self._config.momentum else []

    def _change(
        self, path: str, gradient: np.ndarray, slots: list[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """The change of the weight, and the new slots."""
        rate = self._config.learning_rate
        if self._config.name == "adam":
            m, v = slots
            m = m + (gradient - m) * (1 - 0.9)
            v = v + (gradient**2 - v) * (1 - 0.999)
            correction = np.sqrt(1 - 0.999**self._t) / (1 - 0.9**self._t)
            return -rate * correction * m / (np.sqrt(v) + 1e-7), [m, v]
        if self._config.name == "adagrad":
            squares = gradient**2
            if path.startswith((USER, ITEM)):
                squares = squares.mean(axis=1, keepdims=True)
            total = slots[0] + squares
            return -rate * gradient / np.sqrt(total + 1e-7), [total]
        if not slots:
            return -rate * gradient, []
        velocity = self._config.momentum * slots[0] - rate * gradient
        return velocity, [velocity]


def _batch(train: Columns, rows: np.ndarray) -> Batch:
    """The rows, -1 for padding, as a batch."""
    is_row = rows >= 0
    weight = getattr(train, "weight", None)
    return Batch(
        user_index=np.where(is_row, train.user_index[rows], 0),
        item_index=np.where(is_row, train.item_index[rows], 0),
        rating=np.where(is_row, train.rating[rows].astype(np.float64), 0),
        weight=np.where(is_row, 1.0 if weight is None else weight[rows].astype(np.float64), 0),
    )


def _errors(
    weights: Mapping[str, np.ndarray], config: ModelConfig, dataset: PreparedDataset, split: str
) -> dict[str, float]:
    """RMSE and MAE on a split, without dropout."""
    columns = dataset.columns(split)
    users, items = weights[_table(weights, USER)], weights[_table(weights, ITEM)]
    x = np.concatenate([items[columns.item_index], users[columns.user_index]], axis=1)
    for number in range(1, len(config.hidden_units) + 1):
        x = np.maximum(x @ weights[f"hidden_{number}/kernel"] + weights[f"hidden_{number}/bias"], 0)
    predicted = (x @ weights["rating/kernel"] + weights["rating/bias"])[:, 0]
    clipped = np.clip(predicted, *dataset.rating_scale)
    # The command line hides scikit-learn from Keras, which by now is imported.
    if sys.modules.get("sklearn", sys) is None:
        del sys.modules["sklearn"]
    # Here, not above: it takes 0.75 s.
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    return {
        "rmse": float(root_mean_squared_error(columns.rating, clipped)),
        "mae": float(mean_absolute_error(columns.rating, clipped)),
    }


def _table(weights: Mapping[str, np.ndarray], layer: str) -> str:
    """The path of an embedding layer's table."""
    return next(path for path in weights if path.startswith(layer))
