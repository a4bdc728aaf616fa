"""`train.max_steps` ends a run at that step, wherever in an epoch it is."""

import pytest

from support import runs

SETTINGS = {
    "train.global_batch_size": 32,
    "train.steps_per_loop": 8,
    "train.log_every_steps": 1,
    "train.epochs": 2,
}
STEPS_PER_EPOCH = 21

pytestmark = [pytest.mark.slow, pytest.mark.system]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return runs.prepare_generated(tmp_path_factory.mktemp("steps") / "dataset", num_train=20 * 32 + 5)


def test_a_run_ends_at_max_steps_is_tested_there_and_can_be_continued(dataset, tmp_path):
    workdir = tmp_path / "run"
    result = runs.train(dataset, workdir, {**SETTINGS, "train.max_steps": 30})
    assert result["step"] == 30
    assert result["test_rmse"] > 0
    assert runs.losses(workdir).keys() == set(range(1, 31))
    assert runs.train(dataset, workdir, SETTINGS)["step"] == 2 * STEPS_PER_EPOCH
    whole = tmp_path / "whole"
    # More than the epochs have changes nothing.
    assert runs.train(dataset, whole, {**SETTINGS, "train.max_steps": 1000})["step"] == 2 * STEPS_PER_EPOCH
    assert runs.losses(workdir) == runs.losses(whole)
    assert runs.largest_difference(runs.weights(workdir), runs.weights(whole)) == 0
