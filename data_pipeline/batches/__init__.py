"""From a dataset's columns to the batches of a step.

order         which rows a step takes, from (seed, epoch, step)
windows       the same for data too large to permute
reader        reads a worker's rows ahead
superbatches  the steps of one compiled call as one tf.data element
"""
