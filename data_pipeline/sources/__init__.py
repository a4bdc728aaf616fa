"""What the user gave as DATA, as batches of typed rows.

open_source  opens DATA: a path, a DataFrame, `generated` or nothing
source       `RatingsSource`, the common interface of all sources
locate       finds the files that a path means, and their format
movielens    the folder layouts of MovieLens
download     downloads and verifies MovieLens-100K
generated    ratings from a planted model with a known RMSE floor
in_memory    ratings in an Arrow table
fingerprint  SHA-256 of a source, computed in the background
"""

from data_pipeline.sources.generated import generate_ratings
from data_pipeline.sources.in_memory import Ratings, source_of, source_of_table
from data_pipeline.sources.source import RatingsSource

__all__ = ["Ratings", "RatingsSource", "generate_ratings", "source_of", "source_of_table"]
