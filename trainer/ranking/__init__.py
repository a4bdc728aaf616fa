"""Ranking: from a model to the top items of each user.

scorer        scores (user, item) pairs with a model
model_ranker  scores all items for a user, pair by pair or with the model's towers
top_items     the exact top unseen items of each user

The names handed on here need NumPy only; `scorer` and `model_ranker` import TensorFlow.
"""

from trainer.ranking.top_items import Ranker, ScoreBlock, best_items, score_blocks, tie_bits

__all__ = ["Ranker", "ScoreBlock", "best_items", "score_blocks", "tie_bits"]
