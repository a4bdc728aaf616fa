"""A run that is killed 20 times, some of them while it saves, ends as one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import runs

KILLS = 20
STEPS_PER_EPOCH = 151
SETTINGS = {
    "train.global_batch_size": 32,
    "train.steps_per_loop": 2,
    "train.log_every_steps": 7,  # divides neither the epoch nor the interval: losses wait in the checkpoint
    "train.checkpoint_every_steps": 3,
    "train.epochs": 1000,
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return runs.prepare_generated(
        tmp_path_factory.mktemp("kills") / "dataset", num_train=150 * 32 + 11, num_validation=300
    )


@pytest.fixture
def forks(tmp_path):
    """Starts a training process from one that has TensorFlow loaded."""
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    yield process
    process.stdin.close()
    process.wait(60)


def newest_checkpoint(workdir):
    steps = [int(path.stem.removeprefix("ckpt-")) for path in workdir.glob("checkpoints/ckpt-*.index")]
    return max(steps, default=0)


def begin(forks, dataset, workdir, **settings):
    """The id of a new process that trains."""
    arguments = {"data": str(dataset), "workdir": str(workdir), "settings": {**SETTINGS, **settings}}
    forks.stdin.write(json.dumps(arguments) + "\n")
    forks.stdin.flush()
    return int(forks.stdout.readline())


def test_a_run_killed_20_times_ends_bitwise_as_one_that_was_not(forks, dataset, tmp_path):
    workdir, draw = tmp_path / "run", random.Random(20261124)
    saving = workdir / "checkpoints" / ".saving"
    killed_while_saving = 0
    for number in range(KILLS):
        before = newest_checkpoint(workdir)
        training = begin(forks, dataset, workdir)
        target = before + draw.randint(1, 60)
        runs.wait_until(lambda target=target: newest_checkpoint(workdir) >= target)
        if number % 2:
            while not saving.exists():  # a save lasts milliseconds, and comes every 3 steps
                pass
        time.sleep(draw.uniform(0, 0.004))
        os.kill(training, signal.SIGKILL)
        assert int(forks.stdout.readline()) == -signal.SIGKILL, (tmp_path / "stderr").read_text()
        killed_while_saving += saving.exists()
        assert newest_checkpoint(workdir) >= target
    assert killed_while_saving >= 3
    end = newest_checkpoint(workdir) + STEPS_PER_EPOCH
    for folder in (workdir, tmp_path / "whole"):
        begin(forks, dataset, folder, **{"train.max_steps": end})
        assert int(forks.stdout.readline()) == 0, (tmp_path / "stderr").read_text()
    logged, expected = runs.losses(workdir), runs.losses(tmp_path / "whole")
    assert list(logged) == list(expected)
    assert logged == expected
    assert runs.largest_difference(runs.weights(workdir), runs.weights(tmp_path / "whole")) == 0
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    points = [(json.loads(line)["step"], *sorted(json.loads(line))) for line in lines]
    assert len(set(points)) == len(points)
