"""The parts of a training run.

data         the ratings of a run, prepared where needed
devices      strategy, replicas and precision from the hardware
build        model, objective and engine from settings and data
plan         steps of a run, and its description
session      all that a run holds while it trains
loop         block, log, evaluate, checkpoint
progress     progress lines and speed
own_metrics  what callbacks add to the curves
callbacks    which Keras callbacks a run takes
caller       random numbers and Keras of the process that calls
signals      SIGTERM and SIGINT as a request to stop, at any moment
trained_run  loads a trained run
"""
