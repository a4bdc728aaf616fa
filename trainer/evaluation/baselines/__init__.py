"""Baselines: recommenders without embeddings, which any model should beat.

bias        mean + user bias + item bias
popularity  the most popular items first
ease        a linear autoencoder in closed form
"""

from trainer.evaluation.baselines.bias import BiasModel, bias_model_of
from trainer.evaluation.baselines.ease import EaseRanker
from trainer.evaluation.baselines.popularity import PopularityRanker

__all__ = ["BiasModel", "EaseRanker", "PopularityRanker", "bias_model_of"]
