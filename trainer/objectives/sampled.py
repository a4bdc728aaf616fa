"""Sampled objectives: each row's item, the positive, against negatives drawn for its user."""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from trainer.objectives.negatives import NegativeSampler
from trainer.objectives.objective import Batch, Objective, score_pairs

# The logit of an excluded item. Not -inf: its gradients would be NaN.
EXCLUDED_LOGIT = -1e9


class SampledScores(NamedTuple):
    """Scores of the positives and negatives of some rows.

    Attributes:
        positive: scores of the rows' items, [rows, 1].
        negative: scores of the negatives, [rows, count].
        mask: 1 for negatives that count, 0 for items that the user has rated, [rows, count].
        log_expected: log of the expected number of draws of each negative, [rows, count].
    """

    positive: tf.Tensor
    negative: tf.Tensor
    mask: tf.Tensor
    log_expected: tf.Tensor


class _SampledObjective(Objective):
    """Scores each row's item and `count` negatives.

    Args:
        positive_from: rows with a lower rating get weight 0; None: all rows keep their weight.
    """

    def __init__(self, negatives: NegativeSampler, count: int, *, positive_from: float | None) -> None:
        self.pairs_per_row = 1 + count
        self._negatives = negatives
        self._count = count
        self._positive_from = positive_from

    def losses(self, model: keras.Model, batch: Batch, bits: tf.Tensor) -> tf.Tensor:
        users = batch["user_index"]
        items, mask = self._negatives.draw(users, bits, self._count)
        scores, penalty = score_pairs(
            model, users, tf.concat([batch["item_index"][:, None], items], axis=1), bits
        )
        log_expected = self._negatives.log_expected(users, items, self._count, scores.dtype)
        mask = tf.cast(mask, scores.dtype)
        return self._loss(SampledScores(scores[:, :1], scores[:, 1:], mask, log_expected)) + penalty

    def weights(self, batch: Batch) -> tf.Tensor:
        return positive_weights(batch, self._positive_from)

    def _loss(self, scores: SampledScores) -> tf.Tensor:
        """The losses of the rows, [rows], without penalties."""
        raise NotImplementedError


class BinaryCrossEntropy(_SampledObjective):
    """Mean of -log sigmoid(score) of the positive and -log sigmoid(-score) of the negatives.

    Source: He et al. 2017, "Neural Collaborative Filtering", equation 7.
    """

    def _loss(self, scores: SampledScores) -> tf.Tensor:
        total = tf.nn.softplus(-scores.positive[:, 0])
        total += tf.reduce_sum(tf.nn.softplus(scores.negative) * scores.mask, axis=1)
        return total / (1 + tf.reduce_sum(scores.mask, axis=1))


class BPR(_SampledObjective):
    """Mean over the negatives of -log sigmoid(score of the positive - score of the negative).

    Source: Rendle et al. 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback", section 4.
    """

    def _loss(self, scores: SampledScores) -> tf.Tensor:
        total = tf.reduce_sum(tf.nn.softplus(scores.negative - scores.positive) * scores.mask, axis=1)
        return tf.math.divide_no_nan(total, tf.reduce_sum(scores.mask, axis=1))


class SampledSoftmax(_SampledObjective):
    """Softmax cross-entropy over the positive and all unseen items, estimated from the negatives.

    log(expected number of draws) is subtracted from the score of each negative, which makes the estimate of
    the sum of exp(score) unbiased (logQ correction; Bengio & Senecal 2008, "Adaptive Importance Sampling to
    Accelerate Training of a Neural Probabilistic Language Model").
    """

    def _loss(self, scores: SampledScores) -> tf.Tensor:
        corrected = scores.negative - scores.log_expected
        corrected = tf.where(scores.mask > 0, corrected, tf.constant(EXCLUDED_LOGIT, corrected.dtype))
        logits = tf.concat([scores.positive, corrected], axis=1)
        return tf.reduce_logsumexp(logits, axis=1) - scores.positive[:, 0]


def positive_weights(batch: Batch, positive_from: float | None) -> tf.Tensor:
    """The weights of the rows, with 0 for ratings below `positive_from`."""
    weight = batch["weight"]
    if positive_from is None:
        return weight
    return tf.where(batch["rating"] >= positive_from, weight, tf.zeros_like(weight))
