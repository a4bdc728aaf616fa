"""Trains, evaluates and serves recommenders; `trainer.train` tells the story in order."""

import os

# Before TensorFlow is first imported. Its informational lines hide ours; with oneDNN it announces, twice,
# that it may round otherwise on another machine, and XLA's programs do not use oneDNN anyway.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# On CPUs XLA hands sums over rows to a library whose calls cost more than they save: 20 % at batch 32.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=")
