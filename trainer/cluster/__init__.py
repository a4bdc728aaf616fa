"""The workers of a job: who they are, whether all are there, and whether they still are.

cluster      the workers of TF_CONFIG, past proxies
connections  sockets between the workers
rendezvous   waits until all workers are there
heartbeat    ends a worker when another one died
"""
