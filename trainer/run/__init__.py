"""The parts of a training run.

data         the ratings of a run, prepared where needed
cluster      the workers of TF_CONFIG, past proxies
connections  sockets between the workers
rendezvous   waits until all workers are there
devices      strategy, replicas and precision from the hardware
build        model, objective and engine from settings and data
plan         steps of a run, and its description
loop         block, log, evaluate, checkpoint
progress     progress lines and speed
heartbeat    ends a worker when another one died
callbacks    which Keras callbacks a run takes
caller       random numbers and Keras of the process that calls
signals      SIGTERM and SIGINT as a request to stop, at any moment
trained_run  loads a trained run
"""
