"""Each row's item against items drawn for it."""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from trainer.objectives.negatives import Negatives
from trainer.objectives.objective import Batch, Objective, score_pairs

# A logit of nothing; not -inf, whose gradients are NaN.
NEVER = -1e9


class Scored(NamedTuple):
    """Scores of some rows.

    Attributes:
        positive: of the row's item, [rows, 1].
        negative: of the drawn ones, [rows, count].
        counts: which of the drawn ones count, 1 or 0, [rows, count].
        log_expected: log of how often each is drawn for its row, [rows, count].
    """

    positive: tf.Tensor
    negative: tf.Tensor
    counts: tf.Tensor
    log_expected: tf.Tensor


class _Sampled(Objective):
    """Scores each row's item and `count` drawn ones.

    Args:
        positive_from: rows with a lower rating weigh 0; None: none does.
    """

    def __init__(self, negatives: Negatives, count: int, *, positive_from: float | None) -> None:
        self.pairs_per_row = 1 + count
        self._negatives = negatives
        self._count = count
        self._positive_from = positive_from

    def losses(self, model: keras.Model, batch: Batch, bits: tf.Tensor) -> tf.Tensor:
        users = batch["user_index"]
        items, counts = self._negatives.draw(users, bits, self._count)
        scores, penalty = score_pairs(
            model, users, tf.concat([batch["item_index"][:, None], items], axis=1), bits
        )
        log_expected = self._negatives.log_expected(users, items, self._count, scores.dtype)
        counts = tf.cast(counts, scores.dtype)
        return self._loss(Scored(scores[:, :1], scores[:, 1:], counts, log_expected)) + penalty

    def weights(self, batch: Batch) -> tf.Tensor:
        return positives_only(batch, self._positive_from)

    def _loss(self, scored: Scored) -> tf.Tensor:
        """The rows' losses, [rows]."""
        raise NotImplementedError


class BinaryCrossEntropy(_Sampled):
    """Mean over a row's pairs of -log sigmoid(score) of its item, -log sigmoid(-score) of drawn ones.

    Source: He et al. 2017, "Neural Collaborative Filtering", equation 7.
    """

    def _loss(self, scored: Scored) -> tf.Tensor:
        total = tf.nn.softplus(-scored.positive[:, 0])
        total += tf.reduce_sum(tf.nn.softplus(scored.negative) * scored.counts, axis=1)
        return total / (1 + tf.reduce_sum(scored.counts, axis=1))


class BPR(_Sampled):
    """Mean over the drawn items of -log sigmoid(score of the row's item - theirs).

    Source: Rendle et al. 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback", section 4.
    """

    def _loss(self, scored: Scored) -> tf.Tensor:
        total = tf.reduce_sum(tf.nn.softplus(scored.negative - scored.positive) * scored.counts, axis=1)
        return tf.math.divide_no_nan(total, tf.reduce_sum(scored.counts, axis=1))


class SampledSoftmax(_Sampled):
    """-log of the row's item's share of exp(score), its sum over unseen items estimated from the drawn ones.

    Each drawn score is lowered by log(expected draws of its item), so that the estimate is unbiased (logQ;
    Bengio & Senecal 2008, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic
    Language Model").
    """

    def _loss(self, scored: Scored) -> tf.Tensor:
        corrected = scored.negative - scored.log_expected
        corrected = tf.where(scored.counts > 0, corrected, tf.constant(NEVER, corrected.dtype))
        logits = tf.concat([scored.positive, corrected], axis=1)
        return tf.reduce_logsumexp(logits, axis=1) - scored.positive[:, 0]


def positives_only(batch: Batch, positive_from: float | None) -> tf.Tensor:
    """The rows' weights, 0 for ratings below `positive_from`."""
    weight = batch["weight"]
    if positive_from is None:
        return weight
    return tf.where(batch["rating"] >= positive_from, weight, tf.zeros_like(weight))
