"""Checkpoint files: `ckpt-<step>.index` and its data, in TensorFlow's format, whole or not there.

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

# TensorFlow's reader raises these for damaged files: a wrong checksum, a missing file, too few bytes.
DAMAGE = (tf.errors.OpError, IndexError, ValueError, RuntimeError, OSError)
_DATA = ".data-00000-of-00001"
_SCRATCH = ".saving"


class SaveError(RuntimeError):
    """A checkpoint could not be written; the earlier ones are as they were."""


def steps_in(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, the oldest first.

    The files are looked at, not TensorFlow's `checkpoint` beside them: that is only for TensorFlow's tools.
    """
    found = (re.fullmatch(r"ckpt-(\d+)\.index", path.name) for path in folder.glob("ckpt-*.index"))
    return sorted(int(match[1]) for match in found if match)


def prefix_of(folder: Path, step: int) -> Path:
    """What TensorFlow calls a checkpoint: the common beginning of its files' names."""
    return folder / f"ckpt-{step}"


def write(folder: Path, step: int, tensors: Mapping[str, tf.Tensor]) -> None:
    """Writes a checkpoint beside and moves it in when it is on the disk.

    Raises:
        SaveError: the disk is full, or it could not be written otherwise.
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
            written = Path(f"{prefix_of(scratch, step)}{suffix}")
            with written.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(written, f"{prefix_of(folder, step)}{suffix}")
        scratch.rmdir()
        _name_newest(folder)
    except (tf.errors.OpError, OSError) as error:
        shutil.rmtree(scratch, ignore_errors=True)  # makes room for what is left to be written
        reason = error.strerror if isinstance(error, OSError) else error.message.rpartition("; ")[2]
        reason = str(reason).partition(" [Op:")[0]
        raise SaveError(
            f"the checkpoint of step {step} could not be saved in {folder}: {reason}; earlier ones are intact"
        ) from error


def remove(folder: Path, steps: list[int]) -> None:
    """Removes checkpoints, and data that a run killed while saving or removing has left without an index."""
    for step in steps:
        Path(f"{prefix_of(folder, step)}.index").unlink(missing_ok=True)
    whole = {f"ckpt-{step}{_DATA}" for step in steps_in(folder)}
    for data in folder.glob(f"ckpt-*{_DATA}"):
        if data.name not in whole:
            data.unlink(missing_ok=True)
    if steps:
        _name_newest(folder)


def link(folder: Path, step: int, into: Path) -> None:
    """Makes `into` hold this checkpoint alone, without a copy of its bytes where links are possible."""
    into.mkdir(exist_ok=True)
    for suffix in (_DATA, ".index"):
        beside = into / f".partial{suffix}"
        beside.unlink(missing_ok=True)
        source = Path(f"{prefix_of(folder, step)}{suffix}")
        try:
            os.link(source, beside)
        except OSError:
            shutil.copyfile(source, beside)
        os.replace(beside, f"{prefix_of(into, step)}{suffix}")
        beside.unlink(missing_ok=True)  # `replace` leaves both names where they were the same file's already
    _name_newest(into)
    remove(into, [other for other in steps_in(into) if other != step])


def read(prefix: Path) -> Any:
    """TensorFlow's reader of one checkpoint; raises one of `DAMAGE` for damaged files, also later."""
    return tf.train.load_checkpoint(str(prefix))


def _name_newest(folder: Path) -> None:
    """Writes the file by which `tf.train.latest_checkpoint` finds the newest."""
    names = [f"ckpt-{step}" for step in steps_in(folder)]
    lines = [f'model_checkpoint_path: "{name}"\n' for name in names[-1:]]
    lines += [f'all_model_checkpoint_paths: "{name}"\n' for name in names]
    partial = folder / ".checkpoint.partial"
    partial.write_text("".join(lines))
    os.replace(partial, folder / "checkpoint")
