"""One file per verb: options, checks, one call, output.

prepare    ratings to a prepared dataset
train      trains a recipe, or continues a run
evaluate   test metrics of a run and of baselines
predict    predicted ratings of (user, item) pairs
recommend  the best items that a user has not rated
similar    the items or users nearest to given ones
embeddings vectors of users and items as Parquet
config     all settings as YAML
verify     whether all device layouts train the same model
"""
