"""Checks that every layout of devices trains the same.

verify      trains the layouts and compares them
subset      a fixed subset of the ratings
layouts     one layout, trained in its own processes
comparison  the largest differences
reference   a second implementation, in NumPy
"""
