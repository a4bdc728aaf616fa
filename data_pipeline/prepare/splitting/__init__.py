"""Assigns each row to train, validation or test, or drops it.

assign           the steps in order: duplicates, k-core, split rule
duplicates       keeps one rating of each (user, item) pair
repeated_pairs   finds the pairs with several ratings, without sorting
k_core           drops users and items with too few ratings
rules            the split rules, one function per `data.split`
inverse_shuffle  inverts NumPy's shuffle, to reproduce scikit-learn's splits
"""

from data_pipeline.prepare.splitting.assign import SplitAssignment, assign_splits

__all__ = ["SplitAssignment", "assign_splits"]
