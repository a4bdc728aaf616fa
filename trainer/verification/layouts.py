"""A layout, workers x replicas, trained in processes of its own, and what it left behind."""

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

# A layout that hangs is one that fails. The defaults' take about 10 s.
LAYOUT_TIMEOUT_SECS = 900
COMPARED_IN_CHECKPOINT = ("model/", "optimizer/")
# How often float16 skipped a step depends on rounding: sums over fewer rows overflow later.
NOT_COMPARED = ("optimizer/iteration",)


@dataclass(frozen=True)
class Layout:
    """So many processes with so many replicas each."""

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
    """What a layout arrived at.

    Attributes:
        losses: trained steps -> the loss of the last of them.
        variables: name in the last checkpoint -> value: weights and the optimizer's.
        metrics: `train_loss`, and `validation/rmse at step 50` and the like.
    """

    losses: dict[int, float]
    variables: dict[str, np.ndarray]
    metrics: dict[str, float]


class LayoutError(Exception):
    """A layout did not train to the end; says why in one line."""


def run_layout(
    layout: Layout, dataset: Path, workdir: Path, arguments: Sequence[str], *, command: Sequence[str]
) -> Outcome:
    """Trains the dataset in a new workdir.

    Args:
        arguments: of `reeltrain train`, without the replicas.
        command: what starts `reeltrain`.

    Raises:
        LayoutError: it failed, or did not end in `LAYOUT_TIMEOUT_SECS`.
        UserError: the settings are a mistake.
    """
    launch = ["launch", "local", "--workers", str(layout.workers), "--"] if layout.workers > 1 else []
    train = ["train", str(dataset), "--workdir", str(workdir), "--json", *arguments]
    replicas = ["--set", f"train.replicas={layout.replicas}"]
    try:
        done = subprocess.run(
            [*command, *launch, *train, *replicas],
            # TF32's products have 10 bits, float32's 23; a cluster's variable is not for these processes.
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
        raise UserError(_what_it_said(done.stderr))
    if done.returncode:
        raise LayoutError(f"ended with status {done.returncode}: {_what_it_said(done.stderr)}")
    result = json.loads(done.stdout.splitlines()[-1])
    return read_outcome(Workdir(workdir), train_loss=(result["result"] if launch else result)["train_loss"])


def read_outcome(workdir: Workdir, *, train_loss: float) -> Outcome:
    """What a finished run with `train.log_every_steps=1` left in its workdir."""
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


def _what_it_said(stderr: str) -> str:
    """The line in which `reeltrain` tells why it ended; of several workers' the first."""
    own = [line.removeprefix("reeltrain: ") for line in stderr.splitlines() if line.startswith("reeltrain: ")]
    own = [line for line in own if not line.startswith("loading TensorFlow")]
    return own[0] if own else (stderr.strip().splitlines() or ["it said nothing"])[-1]
