"""A run that is stopped and continued ends in the same weights as one that was not; kills: test_kills.py."""

import signal
import subprocess

import pytest

from support import runs

# One step a block, so that there are many moments to be hit; 4 epochs of 151 steps.
SETTINGS = {
    "train.global_batch_size": 32,
    "train.steps_per_loop": 1,
    "train.log_every_steps": 1,
    "train.epochs": 4,
}
NUM_TRAIN = 150 * 32 + 11
STEPS = 4 * 151

pytestmark = [pytest.mark.slow, pytest.mark.system]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return runs.prepare_generated(
        tmp_path_factory.mktemp("resume") / "dataset", num_train=NUM_TRAIN, num_validation=300
    )


def newest_checkpoint(workdir):
    """Its step; 0 where there is none."""
    steps = [int(path.stem.removeprefix("ckpt-")) for path in workdir.glob("checkpoints/ckpt-*.index")]
    return max(steps, default=0)


def assert_same_end(workdir, whole, *, steps, tolerance=0.0):
    assert runs.losses(workdir).keys() == set(range(1, steps + 1))
    assert runs.largest_difference(runs.losses(workdir), runs.losses(whole)) <= tolerance
    assert runs.largest_difference(runs.weights(workdir), runs.weights(whole)) <= tolerance


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_at_the_step_reached_and_the_same_command_continues(dataset, tmp_path, signum):
    workdir = tmp_path / "run"
    run = runs.start(dataset, workdir, {**SETTINGS, "train.epochs": 400})
    runs.wait_until(lambda: newest_checkpoint(workdir) > 0)
    run.send_signal(signum)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 128 + signum, stderr
    stopped_at = newest_checkpoint(workdir)
    assert stopped_at > 151
    assert max(runs.losses(workdir)) == stopped_at
    settings = {**SETTINGS, "train.epochs": stopped_at // 151 + 1}
    result = runs.train(dataset, workdir, settings)
    assert result["step"] == settings["train.epochs"] * 151
    runs.train(dataset, tmp_path / "whole", settings)
    assert_same_end(workdir, tmp_path / "whole", steps=result["step"])


# Not multiples of the epoch's 151 steps, of a block's 40, or of the interval.
FLOAT64 = {
    **SETTINGS,
    "train.precision": "float64",
    "train.steps_per_loop": 40,
    "train.checkpoint_every_steps": 60,
    "train.log_every_steps": 7,
    "train.max_steps": 260,
}


@pytest.fixture(scope="module")
def whole_float64(dataset, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    runs.train(dataset, workdir, FLOAT64)
    return workdir


def assert_same_within(workdir, whole, tolerance):
    assert list(runs.losses(workdir)) == list(runs.losses(whole))
    assert runs.largest_difference(runs.losses(workdir), runs.losses(whole)) <= tolerance
    assert runs.largest_difference(runs.weights(workdir), runs.weights(whole)) <= tolerance


def test_resume_within_an_epoch_on_other_numbers_of_replicas_ends_alike(dataset, tmp_path, whole_float64):
    for steps, replicas in ((50, 1), (101, 2), (203, 4), (260, 1)):
        settings = {**FLOAT64, "train.max_steps": steps, "train.replicas": replicas}
        result = runs.train(dataset, tmp_path, settings)
        assert (result["step"], result["replicas"]) == (steps, replicas)
    assert_same_within(tmp_path, whole_float64, 1e-10)


def test_resume_within_an_epoch_on_two_workers_ends_alike(dataset, tmp_path, whole_float64):
    runs.train(dataset, tmp_path, {**FLOAT64, "train.max_steps": 101})
    result = runs.train(dataset, tmp_path, FLOAT64, workers=2)
    assert (result["step"], result["workers"]) == (260, 2)
    assert_same_within(tmp_path, whole_float64, 1e-10)


def test_a_damaged_newest_checkpoint_is_passed_over_and_the_run_ends_the_same(dataset, tmp_path):
    settings = {**SETTINGS, "train.log_every_steps": 7, "train.checkpoint_every_steps": 50}
    whole, workdir = tmp_path / "whole", tmp_path / "run"
    runs.train(dataset, whole, {**settings, "train.max_steps": 300})
    runs.train(dataset, workdir, {**settings, "train.max_steps": 230})
    (newest,) = workdir.glob("checkpoints/ckpt-230.data*")
    newest.write_bytes(newest.read_bytes()[:1000])
    run = runs.start(dataset, workdir, {**settings, "train.max_steps": 300})
    _, stderr = run.communicate(timeout=90)
    assert run.returncode == 0, stderr
    assert (
        f"checkpoint {workdir}/checkpoints/ckpt-230 is damaged: restored the one of step 201 instead"
        in stderr
    )
    assert list(runs.losses(workdir)) == list(runs.losses(whole))
    assert_same_within(workdir, whole, 0.0)


def test_a_full_disk_ends_the_run_in_one_line_and_an_earlier_checkpoint_serves(dataset, tmp_path):
    runs.train(dataset, tmp_path, {**SETTINGS, "train.max_steps": 10})
    command = runs.train_command(dataset, tmp_path, SETTINGS)
    # The weights are 133 kB, what is logged until then is less.
    full = ["prlimit", "--fsize=60000", *command]
    done = subprocess.run(full, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "the checkpoint of step 151 could not be saved in" in last
    assert "File too large; earlier ones are intact" in last
    assert newest_checkpoint(tmp_path) == 10
    assert runs.train(dataset, tmp_path, {**SETTINGS, "train.max_steps": 20})["step"] == 20


def test_a_second_run_in_the_workdir_is_refused_with_the_pid_of_the_first(dataset, tmp_path):
    first = runs.start(dataset, tmp_path, {**SETTINGS, "train.epochs": 400})
    runs.wait_until(lambda: newest_checkpoint(tmp_path) > 0)
    second = runs.start(dataset, tmp_path, {**SETTINGS, "train.epochs": 400})
    _, stderr = second.communicate(timeout=60)
    assert second.returncode == 2, stderr
    assert f"got a second: process {first.pid} on " in stderr.splitlines()[-1]
    first.kill()
    first.communicate(timeout=30)


def test_a_finished_run_is_left_as_it_is(dataset, tmp_path):
    first = runs.train(dataset, tmp_path, SETTINGS)
    before = runs.weights(tmp_path)
    again = runs.train(dataset, tmp_path, SETTINGS)
    assert again["step"] == first["step"] == STEPS
    assert again["train_loss"] == first["train_loss"]
    assert again["test_rmse"] == first["test_rmse"]
    assert runs.largest_difference(before, runs.weights(tmp_path)) == 0
    assert runs.losses(tmp_path).keys() == set(range(1, STEPS + 1))
