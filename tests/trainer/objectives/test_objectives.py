"""The losses of every objective against its formula in NumPy, however the batch is split."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_pipeline.dataset.columns import Columns
from data_pipeline.errors import UserError
from trainer.config import ModelConfig, ObjectiveConfig
from trainer.engine.gradients import GradientFunction
from trainer.models import build_model, layers
from trainer.models.inputs import ModelInputs
from trainer.models.layers import Dropout
from trainer.models.towers import Towers
from trainer.objectives import make_objective
from trainer.objectives.objective import BATCH_BITS, BATCH_ITEMS, Objective
from trainer.objectives.ordinal import with_ordinal_head
from trainer.stateless_random import row_bits

USERS, ITEMS, ROWS, L2 = 12, 20, 16, 0.25


@pytest.fixture(autouse=True)
def float64():
    kept = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(kept[0])
    keras.config.set_dtype_policy(kept[1])


def train_columns():
    rng = np.random.default_rng(1)
    cells = rng.choice(USERS * ITEMS, 90, replace=False)
    user, item = np.divmod(cells, ITEMS)
    return Columns.from_arrays(user + 1, item + 1, rng.integers(1, 6, 90))


def batch_of(train):
    """The first training rows; the last one is padding."""
    batch = {
        "user_index": train.user_index[:ROWS].copy(),
        "item_index": train.item_index[:ROWS].copy(),
        "rating": train.rating[:ROWS].copy(),
        "weight": np.ones(ROWS, np.float32),
    }
    for column in batch.values():
        column[-1] = 0
    batch["position"] = np.arange(ROWS, dtype=np.uint32)
    batch[BATCH_ITEMS] = batch["item_index"]
    batch = {name: tf.constant(column) for name, column in batch.items()}
    bits = tf.constant(row_bits(np.uint32([3]), np.uint32([4]), np.arange(ROWS, dtype=np.uint32)))
    return {**batch, BATCH_BITS: bits}, bits


def make(name, *, model="mf", **settings):
    keras.utils.set_random_seed(0)
    train = train_columns()
    built = build_model(
        ModelConfig(name=model, embedding_dim=4, hidden_units=(), embedding_l2=L2),
        ModelInputs(num_user_rows=USERS + 1, num_item_rows=ITEMS + 1),
    )
    for variable in built.trainable_variables:  # biases would be 0
        variable.assign(np.random.default_rng(variable.shape.rank).normal(0, 0.7, variable.shape))
    if name == "ordinal":
        built = with_ordinal_head(built, [1, 2, 3, 4, 5], [0.1, 0.2, 0.3, 0.3, 0.1])
    objective = make_objective(
        ObjectiveConfig(name=name, **settings),
        built,
        train,
        num_user_rows=USERS + 1,
        num_item_rows=ITEMS + 1,
    )
    return built, objective, train


def all_scores(model):
    """scores_UI and penalty_UI of the model, computed from its weights."""
    w = {variable.path.split("/")[-2]: variable.numpy() for variable in model.trainable_variables}
    users, items = w["user_embedding"], w["item_embedding"]
    scores_UI = users @ items.T + w["user_bias"] + w["item_bias"].T + w["mean"]
    return scores_UI, L2 * ((users**2).sum(1)[:, None] + (items**2).sum(1)[None])


def softplus(x):
    return np.logaddexp(0, x)


def indices_and_scores(model, batch):
    scores_UI, penalty_UI = all_scores(model)
    user, item = batch["user_index"].numpy(), batch["item_index"].numpy()
    return user, item, scores_UI, penalty_UI


def test_mse_is_the_squared_error_plus_the_penalty():
    model, objective, train = make("mse")
    batch, bits = batch_of(train)
    user, item, scores_UI, penalty_UI = indices_and_scores(model, batch)
    expected = (scores_UI[user, item] - batch["rating"].numpy()) ** 2 + penalty_UI[user, item]
    np.testing.assert_allclose(objective.losses(model, batch, bits), expected, rtol=1e-12)


def test_ordinal_is_the_summed_cross_entropy_of_being_above_each_grade():
    model, objective, train = make("ordinal")
    batch, bits = batch_of(train)
    user, item, scores_UI, penalty_UI = indices_and_scores(model, batch)
    below = np.cumsum([0.1, 0.2, 0.3, 0.3])
    thresholds = np.log(below / (1 - below))
    probability = 1 / (1 + np.exp(thresholds - scores_UI[user, item][:, None]))
    above = batch["rating"].numpy()[:, None] > [1, 2, 3, 4]
    likelihood = np.where(above, probability, 1 - probability)
    expected = -np.log(likelihood).sum(1) + penalty_UI[user, item]
    np.testing.assert_allclose(objective.losses(model, batch, bits), expected, rtol=1e-9)
    # The prediction is the expected rating: 1 + sum of P(rating > k).
    columns = {name: batch[name] for name in ("user_index", "item_index")}
    np.testing.assert_allclose(model(columns)[:, 0], 1 + probability.sum(1), rtol=1e-9)


@pytest.mark.parametrize("sampler", ["uniform", "popularity"])
@pytest.mark.parametrize("name", ["bce", "bpr", "sampled-softmax"])
def test_a_sampled_objective_equals_its_formula_over_the_drawn_negatives(name, sampler):
    model, objective, train = make(name, negatives=3, sampler=sampler)
    batch, bits = batch_of(train)
    user, item, scores_UI, penalty_UI = indices_and_scores(model, batch)
    drawn, mask = (t.numpy() for t in objective._negatives.draw(batch["user_index"], bits, 3))
    found = objective.losses(model, batch, bits).numpy()
    item_counts = np.bincount(train.item_index, minlength=ITEMS + 1)
    for row in range(ROWS):
        u = user[row]
        positive = scores_UI[u, item[row]]
        negatives = [scores_UI[u, i] for i, counts in zip(drawn[row], mask[row], strict=True) if counts]
        seen = set(train.item_index[train.user_index == u].tolist())
        if name == "bce":
            expected = np.mean([softplus(-positive), *(softplus(each) for each in negatives)])
        elif name == "bpr":
            expected = np.mean([softplus(each - positive) for each in negatives]) if negatives else 0.0
        else:
            times = [
                3 / (ITEMS - len(seen)) if sampler == "uniform" else 3 * max(item_counts[i], 1) / len(train)
                for i, counts in zip(drawn[row], mask[row], strict=True)
                if counts
            ]
            terms = [np.exp(each) / time for each, time in zip(negatives, times, strict=True)]
            expected = np.log(np.exp(positive) + sum(terms)) - positive
        penalty = np.mean([penalty_UI[u, i] for i in (item[row], *drawn[row])])
        np.testing.assert_allclose(found[row], expected + penalty, rtol=1e-9)


def slow_in_batch_softmax(model, batch, train):
    user, item, scores_UI, penalty_UI = indices_and_scores(model, batch)
    share = np.maximum(np.bincount(train.item_index, minlength=ITEMS + 1), 1) / len(train)
    pairs = set(zip(train.user_index.tolist(), train.item_index.tolist(), strict=True))
    expected = []
    for row in range(ROWS):
        total = 0.0
        for other in range(ROWS):
            candidate = item[other]
            if other == row or (candidate and (user[row], candidate) not in pairs):
                total += np.exp(scores_UI[user[row], candidate]) / share[candidate]
        own = scores_UI[user[row], item[row]] - np.log(share[item[row]])
        expected.append(np.log(total) - own + penalty_UI[user[row], item[row]])
    return expected


def test_in_batch_softmax_is_over_the_items_of_the_batch_that_the_user_has_not_rated():
    model, objective, train = make("in-batch-softmax")
    batch, bits = batch_of(train)
    found = objective.losses(model, batch, bits).numpy()
    np.testing.assert_allclose(found[:-1], slow_in_batch_softmax(model, batch, train)[:-1], rtol=1e-9)
    assert np.isfinite(found[-1])  # padding, which has weight 0


@pytest.mark.parametrize("name", ["mse", "bce", "bpr", "sampled-softmax", "in-batch-softmax"])
def test_losses_do_not_depend_on_how_the_batch_is_split(name):
    model, objective, train = make(name)
    batch, bits = batch_of(train)
    whole = objective.losses(model, batch, bits)
    parts = []
    for begin in range(0, ROWS, 4):
        part = {
            key: column if key in (BATCH_ITEMS, BATCH_BITS) else column[begin : begin + 4]
            for key, column in batch.items()
        }
        parts.append(objective.losses(model, part, bits[begin : begin + 4]))
    np.testing.assert_allclose(tf.concat(parts, axis=0), whole, rtol=1e-12)


@pytest.mark.parametrize("name", ["bce", "bpr", "sampled-softmax", "in-batch-softmax"])
def test_rows_below_positive_from_get_weight_0_and_others_keep_theirs(name):
    _, objective, train = make(name, positive_from=4)
    batch, _ = batch_of(train)
    batch["weight"] = tf.constant(np.linspace(0.5, 2, ROWS, dtype=np.float32))
    expected = np.where(batch["rating"].numpy() >= 4, batch["weight"], 0)
    np.testing.assert_array_equal(objective.weights(batch), expected)


class RecordingDropout(Dropout):
    """Records the random numbers that it receives."""

    def call(self, inputs, training=False):
        if training:
            self.bits = layers._ROW_BITS.get().numpy()
        return inputs


def test_every_pair_has_a_different_random_number():
    model, objective, train = make("bce", negatives=3)
    dropout = RecordingDropout(0.5, 1)
    model = keras.Model(model.input, dropout(model.output))
    batch, bits = batch_of(train)
    objective.losses(model, batch, bits)
    assert len(set(dropout.bits.tolist())) == ROWS * 4
    # The row's own random numbers draw the negatives, and are not used again.
    assert not set(dropout.bits.tolist()) & set(bits.numpy().tolist())


def test_in_batch_softmax_gives_candidates_the_random_numbers_of_their_rows_and_users_different_ones():
    model, objective, train = make("in-batch-softmax")
    towers = objective._towers
    users, items = RecordingDropout(0.5, 1), RecordingDropout(0.5, 2)
    objective._towers = Towers(
        keras.Model(towers.user.input, users(towers.user.output)),
        keras.Model(towers.item.input, items(towers.item.output)),
    )
    batch, bits = batch_of(train)
    objective.losses(model, batch, bits)
    whole = items.bits
    assert not set(users.bits.tolist()) & set(whole.tolist())
    assert len(set(whole.tolist())) == ROWS
    part = {n: c if n in (BATCH_ITEMS, BATCH_BITS) else c[4:8] for n, c in batch.items()}
    objective.losses(model, part, bits[4:8])
    np.testing.assert_array_equal(items.bits, whole)


@pytest.mark.parametrize("name", ["mse", "ordinal"])
def test_rating_objectives_pass_the_random_numbers_of_the_rows_to_dropout(name):
    model, objective, train = make(name)
    dropout = RecordingDropout(0.5, 1)
    batch, bits = batch_of(train)
    objective.losses(keras.Model(model.input, dropout(model.output)), batch, bits)
    np.testing.assert_array_equal(dropout.bits, bits)


def test_in_batch_softmax_needs_towers():
    with pytest.raises(UserError, match=r"needs a model with towers \(mf, two-tower\), got neumf"):
        make("in-batch-softmax", model="neumf")


def test_positive_from_must_leave_a_training_row():
    with pytest.raises(UserError, match=r"positive_from must be at most the highest .* rating, 5, got 5.5"):
        make("bce", positive_from=5.5)


class RecordingObjective(Objective):
    """Records the random numbers that the gradient function passes."""

    def losses(self, model, batch, bits):
        self.bits, self.batch_bits = bits.numpy(), batch[BATCH_BITS].numpy()
        columns = {name: batch[name] for name in ("user_index", "item_index")}
        return model(columns)[:, 0]


def test_random_numbers_depend_on_seed_step_and_row_also_for_the_rows_of_other_devices():
    model, _, train = make("mse")
    objective = RecordingObjective()
    gradients = GradientFunction(
        model, objective, model.trainable_variables, global_batch_size=ROWS, seed=3, loss_scale=None
    )
    batch, _ = batch_of(train)
    part = {name: column if name == BATCH_ITEMS else column[4:8] for name, column in batch.items()}
    for step in (0, 7):
        gradients(part, tf.constant(step))
        rows = np.arange(ROWS, dtype=np.uint32)
        expected = row_bits(np.uint32([3]), np.uint32([step]), rows)
        np.testing.assert_array_equal(objective.batch_bits, expected)
        np.testing.assert_array_equal(objective.bits, expected[4:8])
