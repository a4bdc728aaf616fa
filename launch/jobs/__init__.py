"""Jobs of several workers.

command    the verb `launch`
local      worker processes on this machine
tf_config  TF_CONFIG for the workers of a job
"""
