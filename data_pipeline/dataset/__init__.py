"""A prepared dataset on disk: Arrow files and a manifest.

dataset     opens a dataset: columns, vocabularies, counts
manifest    format version, settings, counts, checksums
versions    the present version of a dataset and the former ones
keep_versions  keeps, drops and restores them
columns     the columns of one split, memory-mapped
vocabulary  maps raw ids to embedding rows; row 0 is for unknown ids
splits      the names and numbers of the splits
summary     a dataset in one line
arrow_file  writes an Arrow file and computes its checksum
new_folder  creates or replaces a folder atomically
check       verifies every byte of a dataset
"""

from data_pipeline.dataset.check import check_dataset
from data_pipeline.dataset.columns import Columns
from data_pipeline.dataset.dataset import PreparedDataset, open_dataset
from data_pipeline.dataset.vocabulary import UNKNOWN_INDEX, Vocabulary

__all__ = ["UNKNOWN_INDEX", "Columns", "PreparedDataset", "Vocabulary", "check_dataset", "open_dataset"]
