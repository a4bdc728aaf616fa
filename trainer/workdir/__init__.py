"""What a run leaves on disk.

workdir           the folder: config.json, environment.json, names
lock              one training process per workdir
checkpoint        saves and restores a run exactly
checkpoint_files  atomic checkpoint files
scalars           TensorBoard events and metrics.jsonl
"""
