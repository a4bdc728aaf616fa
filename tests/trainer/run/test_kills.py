"""A run that is killed 20 times, some of them while it saves, ends as one that was left alone."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from support import runs
from support.forks import Fork

KILLS = 20
STEPS_PER_EPOCH = 151
SETTINGS = {
    "train.global_batch_size": 32,
    "train.steps_per_loop": 2,
    "train.log_every_steps": 7,  # divides neither the epoch nor the interval: losses wait in the checkpoint
    "train.checkpoint_every_steps": 3,
    "train.epochs": 1000,
}

pytestmark = [pytest.mark.slow, pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return runs.prepare_generated(
        tmp_path_factory.mktemp("kills") / "dataset", num_train=150 * 32 + 11, num_validation=300
    )


def newest_checkpoint(workdir):
    steps = [int(path.stem.removeprefix("ckpt-")) for path in workdir.glob("checkpoints/ckpt-*.index")]
    return max(steps, default=0)


@pytest.fixture
def begin(dataset, tmp_path):
    """Starts a process that trains."""

    def start(workdir, **settings):
        python, *arguments = runs.train_command(
            dataset, workdir, {**SETTINGS, **settings}, python=runs.python()
        )
        with open(os.devnull, "r+") as null, (tmp_path / "stderr").open("a") as stderr:
            streams = (null.fileno(), null.fileno(), stderr.fileno())
            return Fork(str(Path(python).with_name("socket")), arguments, streams=streams)

    return start


def test_a_run_killed_20_times_ends_bitwise_as_one_that_was_not(begin, tmp_path):
    workdir, draw = tmp_path / "run", random.Random(20261124)
    saving = workdir / "checkpoints" / ".saving"
    killed_while_saving = 0
    for number in range(KILLS):
        before = newest_checkpoint(workdir)
        training = begin(workdir)
        target = before + draw.randint(1, 60)
        runs.wait_until(lambda target=target: newest_checkpoint(workdir) >= target)
        if number % 2:
            while not saving.exists():  # a save lasts milliseconds, and comes every 3 steps
                pass
        time.sleep(draw.uniform(0, 0.004))
        os.kill(training.pid, signal.SIGKILL)
        assert training.wait() == -signal.SIGKILL, (tmp_path / "stderr").read_text()
        killed_while_saving += saving.exists()
        assert newest_checkpoint(workdir) >= target
    assert killed_while_saving >= 3
    end = newest_checkpoint(workdir) + STEPS_PER_EPOCH
    for folder in (workdir, tmp_path / "whole"):
        training = begin(folder, **{"train.max_steps": end})
        assert training.wait() == 0, (tmp_path / "stderr").read_text()
    logged, expected = runs.losses(workdir), runs.losses(tmp_path / "whole")
    assert list(logged) == list(expected)
    assert logged == expected
    assert runs.largest_difference(runs.weights(workdir), runs.weights(tmp_path / "whole")) == 0
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    points = [(json.loads(line)["step"], *sorted(json.loads(line))) for line in lines]
    assert len(set(points)) == len(points)
