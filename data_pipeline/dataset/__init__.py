"""A prepared dataset: what lies on disk.

dataset     opens one: columns, vocabularies, counts
manifest    format version, counts, checksums
columns     a split's columns, memory-mapped
vocabulary  raw ids to embedding rows; row 0 is every unknown id
splits      the names and numbers of the splits
summary     a dataset in one line
arrow_file  writes an Arrow file and its checksum
new_folder  makes a folder that is complete or absent
check       reads all of a dataset and verifies it
"""
