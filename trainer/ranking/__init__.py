"""From a model to lists of items.

scorer        scores of rows
top_items     the best unseen items of each user, exactly
model_ranker  a model as a ranker: by pairs, or by its towers
"""
