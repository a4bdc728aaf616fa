"""Serving: predictions and recommendations of a trained run.

predict    predicts ratings of (user_id, item_id) pairs
recommend  recommends the best unseen items to a user
"""

from trainer.serving.predict import predict
from trainer.serving.recommend import Recommendation, recommend

__all__ = ["Recommendation", "predict", "recommend"]
