"""Checkpoint files: `ckpt-<step>.index` and its data, in TensorFlow's format, written atomically.

`tf.train.load_checkpoint` reads them. Every tensor and the index carry checksums.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from data_pipeline.files import move_into_place, replace_text, replaced_file

# TensorFlow's reader raises these for damaged files: a wrong checksum, a missing file, too few bytes.
DAMAGE = (tf.errors.OpError, IndexError, ValueError, RuntimeError, OSError)
_DATA = ".data-00000-of-00001"
_SCRATCH = ".saving"


class SaveError(RuntimeError):
    """A checkpoint could not be written; the earlier ones are as they were."""


def steps_in(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, the oldest first.

    TensorFlow's file `checkpoint` is not read: only TensorFlow's own tools need it.
    """
    found = (re.fullmatch(r"ckpt-(\d+)\.index", path.name) for path in folder.glob("ckpt-*.index"))
    return sorted(int(match[1]) for match in found if match)


def prefix_of(folder: Path, step: int) -> Path:
    """The common prefix of a checkpoint's file names, by which TensorFlow identifies it."""
    return folder / f"ckpt-{step}"


def write(folder: Path, step: int, tensors: Mapping[str, tf.Tensor]) -> None:
    """Writes a checkpoint to a scratch folder and moves it into `folder` once it is on the disk.

    Raises:
        SaveError: the disk is full, or the files cannot be written.
    """
    scratch = folder / _SCRATCH
    try:
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed while saving
        scratch.mkdir(parents=True)
        tf.raw_ops.SaveV2(
            prefix=str(prefix_of(scratch, step)),
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )
        # The index last: without it the data is not a checkpoint.
        for suffix in (_DATA, ".index"):
            move_into_place(_file(scratch, step, suffix), _file(folder, step, suffix))
        scratch.rmdir()
        _name_newest(folder)
    except (tf.errors.OpError, OSError) as error:
        shutil.rmtree(scratch, ignore_errors=True)  # frees the space for the log files
        reason = error.strerror if isinstance(error, OSError) else error.message.rpartition("; ")[2]
        reason = str(reason).partition(" [Op:")[0]
        raise SaveError(
            f"the checkpoint of step {step} could not be saved in {folder}: {reason}; earlier ones are intact"
        ) from error


def remove(folder: Path, steps: list[int]) -> None:
    """Removes checkpoints, and data files without an index, left by a run that was killed."""
    for step in steps:
        _file(folder, step, ".index").unlink(missing_ok=True)
    whole = {f"ckpt-{step}{_DATA}" for step in steps_in(folder)}
    for data in folder.glob(f"ckpt-*{_DATA}"):
        if data.name not in whole:
            data.unlink(missing_ok=True)
    if steps:
        _name_newest(folder)


def link(folder: Path, step: int, into: Path) -> None:
    """Makes this the only checkpoint in `into`, as hard links where the file system has them."""
    into.mkdir(exist_ok=True)
    for suffix in (_DATA, ".index"):
        source = _file(folder, step, suffix)
        with replaced_file(_file(into, step, suffix)) as partial:
            try:
                os.link(source, partial)
            except OSError:
                shutil.copyfile(source, partial)
    _name_newest(into)
    remove(into, [other for other in steps_in(into) if other != step])


def read(prefix: Path) -> Any:
    """TensorFlow's reader of a checkpoint; damaged files raise one of `DAMAGE`, here or while reading."""
    return tf.train.load_checkpoint(str(prefix))


def _file(folder: Path, step: int, suffix: str) -> Path:
    return Path(f"{prefix_of(folder, step)}{suffix}")


def _name_newest(folder: Path) -> None:
    """Writes the file that `tf.train.latest_checkpoint` reads."""
    names = [f"ckpt-{step}" for step in steps_in(folder)]
    lines = [f'model_checkpoint_path: "{name}"\n' for name in names[-1:]]
    lines += [f'all_model_checkpoint_paths: "{name}"\n' for name in names]
    replace_text(folder / "checkpoint", "".join(lines))
