"""Code that the benchmark scripts share.

arguments     command line arguments and requirements
machine       facts about the machine and package versions
programs      runs the compared programs as processes
children      runs a contender as a process that exchanges JSON
limits        memory limits and the page cache
article_task  the training task of `train_step.py`
shuffle_task  the ratings of `shuffle_quality.py`
"""
