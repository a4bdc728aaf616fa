"""Which rows go to which split.

assign           duplicates, k-core and split, in order
rules            one function a split
duplicates       several ratings of one item by one user
repeated_pairs   finds them without a sort
k_core           removes rare users and items
inverse_shuffle  the positions of scikit-learn's shuffle
"""
