"""From ratings to a prepared dataset, in bounded memory.

prepare       the steps, in order
append        adds ratings to a prepared dataset
staging       rows on disk while a dataset is prepared
id_codes      a code for each id, as it comes in
splitting/    which rows go to which split
stored_order  the random order in which rows are stored
write         staged rows to the files of a dataset
progress      progress lines
"""
