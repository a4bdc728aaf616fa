"""From a trained run to answers.

predict    ratings of pairs of ids
recommend  the best items a user has not rated
"""
