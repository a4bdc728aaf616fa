"""One file a verb: options, checks, one call, output.

prepare    ratings to a prepared dataset
train      trains a recipe, or continues a run
evaluate   metrics beside baselines
predict    ratings of pairs of ids
config     all settings as YAML
recommend  the best items a user has not rated
verify     whether every layout of devices trains the same
"""
