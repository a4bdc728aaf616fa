"""Data that models and evaluation look up by user or item index.

interactions   the items that each user has rated
side_features  side features of users and items, encoded as arrays
"""

from data_pipeline.features.interactions import Interactions, train_interactions
from data_pipeline.features.side_features import Features, no_features

__all__ = ["Features", "Interactions", "no_features", "train_interactions"]
