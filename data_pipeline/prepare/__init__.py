"""From ratings to a prepared dataset, out of core: memory holds the ids and about 9 bytes per row.

prepare       the steps in order: stage, assign splits, index, write
append        adds ratings to a prepared dataset
staging       temporary row storage on disk
id_codes      gives each raw id an integer code while rows are read
splitting/    assigns each row to a split, or drops it
stored_order  the random order in which rows are stored
write         writes the staged rows as the files of a dataset
progress      progress lines on stderr
"""

from data_pipeline.prepare.append import append_ratings
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.prepare.splitting.rules import check_split

__all__ = ["append_ratings", "check_split", "prepare_dataset"]
