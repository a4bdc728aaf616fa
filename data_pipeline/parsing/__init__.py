"""From bytes to typed columns.

delimited     ratings in CSV, TSV and other delimited text
text_file     the columns of a text file, by Arrow or line by line
blocks        a text file in blocks of whole rows
lines         rows one by one, with their line numbers
parquet       ratings in Parquet
frame         ratings in a DataFrame
column_names  which column is which
values        raw columns to typed ones; which rows are bad
ids           raw ids to integers or strings
chunks        parses in threads, in order; counts what was read
side_tables   features of users and items
pairs         pairs of ids to predict, from a CSV
"""
