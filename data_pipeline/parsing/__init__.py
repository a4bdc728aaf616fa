"""From bytes to typed columns.

delimited     ratings from CSV, TSV and other delimited text
parquet       ratings from Parquet files
frame         ratings from a pandas DataFrame
side_tables   side features of users and items
id_files      lists of ids from a file
pairs         (user, item) pairs to predict, from a CSV
column_names  which column of a source is which
values        converts raw columns to typed ones and finds bad rows
ids           converts raw ids to integers or strings
chunks        parses in threads, keeps the order, drops or reports bad rows
text_file     the columns of a text file, by Arrow or line by line
blocks        splits a text file into blocks of whole rows
lines         splits text into rows with line numbers: slow but exact
"""

from data_pipeline.parsing.chunks import ReadReport, good_rows, parse_in_threads
from data_pipeline.parsing.column_names import ColumnNames

__all__ = ["ColumnNames", "ReadReport", "good_rows", "parse_in_threads"]
