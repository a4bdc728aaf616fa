"""How good a model is, next to baselines, with its protocol.

evaluate          a model and its baselines on one split
validation        what a run is judged by while it trains
slice_metrics     metrics of one recommender, for each slice
slices            all, warm and cold users, cold items
holdout           the relevant items of each user
protocol          the protocol in words
rating_metrics    RMSE, MAE
ranking_metrics   NDCG, recall, precision, HR, MAP, MRR
sampled_metrics   the same among sampled candidates
catalog_metrics   coverage, Gini, novelty, diversity
baselines/        bias, popularity, EASE
"""
