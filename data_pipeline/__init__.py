"""From ratings to batches: read, split, index, write, feed. Imports nothing of the trainer.

TensorFlow is imported by `data_pipeline.batches.superbatches` alone.
"""
