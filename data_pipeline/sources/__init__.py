"""What DATA is, as batches of typed rows.

open_source  the entry: a path, a DataFrame, `generated`
source       RatingsSource, what all of them become
locate       which files a path means, and their format
movielens    the folders of MovieLens
download     MovieLens-100K, verified
generated    ratings of a planted model with a known lowest error
in_memory    ratings that are a table
fingerprint  SHA-256 of the source, computed while it is read
"""
