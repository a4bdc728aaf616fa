"""Runs the compared programs, each as a separate process of this interpreter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.arguments import PROJECT


@dataclass(frozen=True)
class ProcessRun:
    """A finished process.

    Attributes:
        result: the JSON object on its last line.
        wall_secs: from start to end, imports included.
        cpu_secs: user and system time on all cores, which depends less on other load of the machine.
    """

    result: dict[str, Any]
    wall_secs: float
    cpu_secs: float


def run_article_keras(
    data: Path, *, epochs: int, seed: int | None = None, shuffle: bool = True
) -> ProcessRun:
    """Runs the tutorial's script on split42; without a seed by default, like a reader."""
    script = PROJECT / "benchmarks" / "article_keras.py"
    options = ["--epochs", str(epochs)]
    options += [] if seed is None else ["--seed", str(seed)]
    options += [] if shuffle else ["--no-shuffle"]
    return _run([str(script), str(data), *options, "--json"])


def run_train(
    data: Path, *, workdir: Path, seed: int, epochs: int, settings: Mapping[str, object]
) -> ProcessRun:
    """Runs `reeltrain train` with the article recipe in a new workdir."""
    settings = {"train.seed": seed, "train.epochs": epochs, **settings}
    options = [option for key, value in settings.items() for option in ("--set", f"{key}={value}")]
    return run_reeltrain("train", str(data), "--workdir", str(workdir), *options)


def run_evaluate(workdir: Path) -> ProcessRun:
    """Runs `reeltrain evaluate` on a trained run, for ratings only."""
    return run_reeltrain("evaluate", str(workdir), "--no-ranking", "--no-mf")


def run_reeltrain(*arguments: str) -> ProcessRun:
    """Runs `reeltrain` with these arguments and --json."""
    return _run(["-m", "launch.main", *arguments, "--json"])


def end_cleanly_on_sigterm() -> None:
    """Makes SIGTERM unwind the stack like Ctrl-C, so that children end and temporary folders are removed."""
    signal.signal(signal.SIGTERM, lambda signum, _frame: sys.exit(128 + signum))


def _run(arguments: Sequence[str]) -> ProcessRun:
    # In the root of the project, so that `-m` runs this checkout.
    cpu_before, begin = _children_cpu_secs(), time.perf_counter()
    process = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    wall_secs = time.perf_counter() - begin
    if process.returncode:
        print(process.stderr[-4000:], file=sys.stderr)
        print(f"{' '.join(arguments)}: ended with status {process.returncode}", file=sys.stderr)
        sys.exit(1)
    return ProcessRun(
        result=json.loads(process.stdout.splitlines()[-1]),
        wall_secs=wall_secs,
        cpu_secs=_children_cpu_secs() - cpu_before,
    )


def _children_cpu_secs() -> float:
    times = os.times()
    return times.children_user + times.children_system
