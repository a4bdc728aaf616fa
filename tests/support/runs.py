"""Starts training in separate processes and reads back their results."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from data_pipeline.config import DataConfig
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.generated import generate_ratings
from data_pipeline.sources.in_memory import source_of

TIMEOUT_SECS = 180
FORKS = Path(__file__).with_name("forks.py")


def prepare_generated(out: Path, *, num_train: int, num_validation: int = 0, num_test: int = 500) -> Path:
    """A prepared dataset of generated ratings with exactly the given number of rows in each split."""
    num_ratings = num_train + num_validation + num_test
    ratings = generate_ratings(num_users=200, num_items=300, num_ratings=num_ratings, seed=7)
    config = DataConfig(  # fractions are rounded up to whole rows
        test_fraction=(num_test - 0.5) / num_ratings,
        validation_fraction=max(0, num_validation - 0.5) / (num_train + num_validation),
    )
    dataset = prepare_dataset(source_of(ratings), config, out)
    rows = [dataset.num_rows(split) for split in ("train", "validation", "test")]
    assert rows == [num_train, num_validation, num_test]
    return out


@functools.cache
def python() -> Path:
    """A Python executable that starts with TensorFlow already imported; see forks.py."""
    path = Path(tempfile.mkdtemp(prefix="reeltrain-forks-")) / "python"
    socket = path.with_name("socket")
    path.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S -E '{FORKS}' '{socket}' \"$@\"\n")
    path.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, str(FORKS), str(socket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # so that Ctrl-C reaches only the tests
    )
    assert server.stdout.readline() == b"ready\n"

    @atexit.register
    def end() -> None:
        server.stdin.close()
        server.wait()
        shutil.rmtree(path.parent)

    return path


def train_command(
    data: Path, workdir: Path, settings: dict[str, object], *, python: str | Path = sys.executable
) -> list[str]:
    """The command line of `reeltrain train`."""
    arguments = [str(data), "--workdir", str(workdir), "--json"]
    for key, value in settings.items():
        arguments += ["--set", f"{key}={value}"]
    return [str(python), "-m", "launch.main", "train", *arguments]


def train(
    data: Path, workdir: Path, settings: dict[str, object], *, workers: int = 1, recipe: str = "article"
) -> dict:
    """Trains to the end; returns the JSON result."""
    command = [*train_command(data, workdir, settings, python=python()), "--recipe", recipe]
    if workers > 1:
        command[3:3] = ["launch", "local", "--workers", str(workers), "--"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECS, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    return result["result"] if workers > 1 else result


def start(data: Path, workdir: Path, settings: dict[str, object]) -> subprocess.Popen:
    """Starts training in the background."""
    return subprocess.Popen(
        train_command(data, workdir, settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(condition, *, timeout_secs: float = 120) -> None:
    """Waits for a condition to hold; fails the test when it does not in time."""
    deadline = time.monotonic() + timeout_secs
    while not condition():
        assert time.monotonic() < deadline, "the awaited did not happen in time"
        time.sleep(0.02)


def losses(workdir: Path) -> dict[int, float]:
    """step -> training loss, as logged."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in lines]
    return {point["step"]: point["train/loss"] for point in points if "train/loss" in point}


def weights(workdir: Path) -> dict[str, np.ndarray]:
    """Step and all variables of the newest checkpoint, optimizer state included, read without our code."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(workdir / "checkpoints"))
    names = reader.get_variable_to_shape_map()
    # The other variables hold the position, which metrics.jsonl shows.
    return {name: reader.get_tensor(name) for name in names if "/" in name or name == "step"}


def largest_difference(one: dict, other: dict) -> float:
    """The largest absolute difference over all values of two dictionaries with the same keys."""
    assert one.keys() == other.keys()
    return max(float(np.max(np.abs(np.asarray(one[key], float) - other[key]))) for key in one)


def processes_with(text: str) -> list[int]:
    """The ids of running processes with the text in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in command and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def killed_within(command: list[str], partial: Path, secs: float) -> tuple[bool, float]:
    """Runs `prepare` and kills it `secs` after it began to stage rows: (whether it began, its run time).

    Args:
        partial: its hidden folder, which may contain remains of an earlier process.
    """

    def staging() -> int | None:
        try:
            return (partial / "staging").stat().st_ctime_ns
        except FileNotFoundError:
            return None

    before, begun_at = staging(), None
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + TIMEOUT_SECS
    try:
        while process.poll() is None:
            now = time.monotonic()
            assert now < deadline, "it neither began nor ended in time"
            if begun_at is None and staging() not in (None, before):
                begun_at = now
            if begun_at is not None and now - begun_at >= secs:
                break
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait(60)
    return begun_at is not None, time.monotonic() - (begun_at or time.monotonic())
