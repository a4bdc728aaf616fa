"""From a dataset's columns to the batches of each step.

order         which rows a step trains on: a function of (seed, epoch, step)
windows       the same for datasets too large for a permutation of all rows
reader        reads the rows of one shard ahead of their use
superbatches  tf.data elements, each with the batches of one compiled call; imports TensorFlow
"""

from data_pipeline.batches.order import BatchOrder
from data_pipeline.batches.windows import Sizes, StepBlock

__all__ = ["BatchOrder", "Sizes", "StepBlock"]
