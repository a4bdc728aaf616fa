"""Serving: predictions and recommendations of a trained run.

predict    predicts ratings of (user_id, item_id) pairs
recommend  recommends the best unseen items to a user
vectors    the vectors of a run's users and items
similar    the items or users nearest to given ones
embeddings vectors as a DataFrame and as Parquet files
"""

from trainer.serving.predict import predict
from trainer.serving.recommend import Recommendation, recommend

__all__ = ["Recommendation", "predict", "recommend"]
