"""From ratings to batches: read, split, index, store, feed. Imports nothing from `trainer` or `launch`.

sources/   opens what the user gave as DATA: files, folders, a DataFrame, generated ratings
parsing/   text, Parquet and DataFrames to typed columns
prepare/   splits and indexes the rows, out of core, and writes the dataset
dataset/   the prepared dataset on disk: Arrow files and a manifest
features/  data looked up by user or item index: rated items, side features
batches/   the dataset's rows as the batches of each step
config     the settings `data.*`
advice     what helps, in the words of the command line or of Python
errors     `UserError`, the exception for bad input
logs       the package's logger
threads    ordered results from a thread pool

Only `batches.superbatches` imports TensorFlow.
"""
