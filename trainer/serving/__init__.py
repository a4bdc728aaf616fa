"""Serving: predictions and recommendations of a trained run.

predict         predicts ratings of (user_id, item_id) pairs
recommend       recommends the best unseen items to a user, or to many
recommend_many  many users, a group at a time
candidates      which items may be recommended to whom
vectors         the vectors of a run's users and items
similar         the items or users nearest to given ones
embeddings      vectors as a DataFrame and as Parquet files
table_file      writes a table in pieces; the file appears when it is complete
"""

from trainer.serving.predict import predict
from trainer.serving.recommend import Recommendation, recommend

__all__ = ["Recommendation", "predict", "recommend"]
