"""Evaluation: metrics of a model and of baselines, with their protocol.

evaluate          evaluates a run and its baselines on the test split
validation        metrics of a run while it trains and when it ends
slice_metrics     metrics of one recommender, by slice
slices            the slices: all, warm, cold users, cold items
holdout           the relevant and the seen items of each user
protocol          describes how rankings were evaluated
rating_metrics    RMSE, MAE
ranking_metrics   NDCG, recall, precision, HR, MAP, MRR
sampled_metrics   the rank of each relevant item among sampled negatives
catalog_metrics   coverage, Gini, novelty, diversity
baselines/        bias model, popularity, EASE

The names handed on here import no TensorFlow; `evaluate` and `validation` do.
"""

from trainer.evaluation.holdout import Holdout, holdout_of
from trainer.evaluation.rating_metrics import rating_errors
from trainer.evaluation.slice_metrics import Metrics, RankingTask, Recommender

__all__ = ["Holdout", "Metrics", "RankingTask", "Recommender", "holdout_of", "rating_errors"]
