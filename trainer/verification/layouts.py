"""Trains a layout, workers x replicas, in separate processes and reads its results."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from data_pipeline.errors import UserError
from trainer.workdir.workdir import Workdir

# A layout that hangs counts as failed. The default layouts take about 10 s each.
LAYOUT_TIMEOUT_SECS = 900
COMPARED_IN_CHECKPOINT = ("model/", "optimizer/")
# The number of steps that float16 skipped depends on rounding: sums over fewer rows overflow later.
NOT_COMPARED = ("optimizer/iteration",)


@dataclass(frozen=True)
class Layout:
    """A number of processes, each with the same number of replicas."""

    workers: int
    replicas: int

    @property
    def num_replicas(self) -> int:
        return self.workers * self.replicas

    @property
    def name(self) -> str:
        """For people.

        >>> [Layout(1, 1).name, Layout(1, 4).name, Layout(2, 1).name]
        ['single device', '4 replicas', '2 workers']
        """
        if self.num_replicas == 1:
            return "single device"
        return f"{self.replicas} replicas" if self.workers == 1 else f"{self.workers} workers"


@dataclass(frozen=True)
class Outcome:
    """The result of training a layout.

    Attributes:
        losses: trained steps -> the loss of the last of them.
        variables: name in the last checkpoint -> value, of the model and the optimizer.
        metrics: `train_loss`, `validation/rmse at step 50` and so on.
    """

    losses: dict[int, float]
    variables: dict[str, np.ndarray]
    metrics: dict[str, float]


class LayoutError(Exception):
    """A layout did not train to its end; the message is one line."""


def run_layout(
    layout: Layout, dataset: Path, workdir: Path, arguments: Sequence[str], *, command: Sequence[str]
) -> Outcome:
    """Trains the dataset in a new workdir.

    Args:
        arguments: of `reeltrain train`, without the replicas.
        command: starts `reeltrain`.

    Raises:
        LayoutError: it failed, or did not end within `LAYOUT_TIMEOUT_SECS`.
        UserError: a setting is invalid.
    """
    launch = ["launch", "local", "--workers", str(layout.workers), "--"] if layout.workers > 1 else []
    train = ["train", str(dataset), "--workdir", str(workdir), "--json", *arguments]
    replicas = ["--set", f"train.replicas={layout.replicas}"]
    try:
        done = subprocess.run(
            [*command, *launch, *train, *replicas],
            # TF32's products have 10 bits, float32's 23. These processes are not part of a cluster.
            env={"NVIDIA_TF32_OVERRIDE": "0"} | {k: v for k, v in os.environ.items() if k != "TF_CONFIG"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LAYOUT_TIMEOUT_SECS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LayoutError(f"did not end within {LAYOUT_TIMEOUT_SECS} s") from None
    if done.returncode == 2:
        raise UserError(_error_line(done.stderr))
    if done.returncode:
        raise LayoutError(f"ended with status {done.returncode}: {_error_line(done.stderr)}")
    result = json.loads(done.stdout.splitlines()[-1])
    return read_outcome(Workdir(workdir), train_loss=(result["result"] if launch else result)["train_loss"])


def read_outcome(workdir: Workdir, *, train_loss: float) -> Outcome:
    """The results of a finished run with `train.log_every_steps=1`, from its workdir."""
    losses: dict[int, float] = {}
    metrics = {"train_loss": train_loss}
    for line in workdir.metrics.read_text(encoding="utf-8").splitlines():
        point = json.loads(line)
        step = point.pop("step")
        if "train/loss" in point:
            losses[step] = point["train/loss"]
        for name, value in point.items():
            if name.startswith(("validation/", "test/")):
                metrics[f"{name} at step {step}"] = value
    reader = tf.train.load_checkpoint(str(workdir.checkpoints))
    variables = {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith(COMPARED_IN_CHECKPOINT) and not name.startswith(NOT_COMPARED)
    }
    return Outcome(losses, variables, metrics)


def _error_line(stderr: str) -> str:
    """The error message of `reeltrain`; of several workers, the first one's."""
    own = [line.removeprefix("reeltrain: ") for line in stderr.splitlines() if line.startswith("reeltrain: ")]
    return own[0] if own else (stderr.strip().splitlines() or ["no error message"])[-1]
