"""A run that is killed or stopped and continued ends in the same weights as one that was not."""

import random
import signal
import subprocess

import pytest

import runs

# One step a block, so that there are many moments to be hit; 4 epochs of 151 steps.
SETTINGS = {
    "train.global_batch_size": 32,
    "train.steps_per_loop": 1,
    "train.log_every_steps": 1,
    "train.epochs": 4,
}
NUM_TRAIN = 150 * 32 + 11
STEPS = 4 * 151

pytestmark = pytest.mark.slow


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


def test_sigkill_at_random_moments_then_resume_ends_in_the_same_weights(dataset, tmp_path):
    workdir = tmp_path / "run"
    draw = random.Random(20261123)
    for _ in range(3):
        run = runs.start(dataset, workdir, {**SETTINGS, "train.epochs": 400})
        before = newest_checkpoint(workdir)
        # At least one epoch further, then anywhere in the next 0.2 s (an epoch takes about that long).
        runs.wait_until(lambda before=before: newest_checkpoint(workdir) > before)
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(draw.uniform(0, 0.2))
        run.kill()
        assert run.wait(30) == -signal.SIGKILL
        run.communicate()
    reached = newest_checkpoint(workdir)
    settings = {**SETTINGS, "train.epochs": reached // 151 + 2}
    result = runs.train(dataset, workdir, settings)
    assert result["step"] == reached + 2 * 151
    runs.train(dataset, tmp_path / "whole", settings)
    assert_same_end(workdir, tmp_path / "whole", steps=result["step"])


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


def test_resume_on_other_numbers_of_replicas_ends_in_the_same_weights(dataset, tmp_path):
    float64 = {**SETTINGS, "train.precision": "float64", "train.steps_per_loop": 40}
    whole = tmp_path / "whole"
    runs.train(dataset, whole, {**float64, "train.epochs": 4})
    workdir = tmp_path / "run"
    for epochs, replicas in enumerate((1, 2, 4, 1), start=1):
        result = runs.train(dataset, workdir, {**float64, "train.epochs": epochs, "train.replicas": replicas})
        assert (result["step"], result["replicas"]) == (epochs * 151, replicas)
    assert_same_end(workdir, whole, steps=STEPS, tolerance=1e-10)


def test_a_finished_run_is_left_as_it_is(dataset, tmp_path):
    first = runs.train(dataset, tmp_path, SETTINGS)
    before = runs.weights(tmp_path)
    again = runs.train(dataset, tmp_path, SETTINGS)
    assert again["step"] == first["step"] == STEPS
    assert again["train_loss"] == first["train_loss"]
    assert again["test_rmse"] == first["test_rmse"]
    assert runs.largest_difference(before, runs.weights(tmp_path)) == 0
    assert runs.losses(tmp_path).keys() == set(range(1, STEPS + 1))
