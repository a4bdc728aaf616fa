"""Several trainings as one result.

seeds             the same settings with several seeds
trained_baseline  a tuned matrix factorization on the same split
"""
