"""More devices give the same result: losses, weights and optimizer state against the single device.

Each layout trains in a process of its own on the same dataset, whose last batch is short: 20 of 64 rows, so
that of four replicas two have nothing in it.
"""

import pytest

from support import runs

BATCH = 64
STEPS = 100
SETTINGS = {
    "train.global_batch_size": BATCH,
    "train.log_every_steps": 1,
    "train.steps_per_loop": 30,
    "train.epochs": 1,
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    num_train = (STEPS - 1) * BATCH + 20
    return runs.prepare_generated(tmp_path_factory.mktemp("parity") / "dataset", num_train=num_train)


@pytest.fixture(scope="module")
def single_device(dataset, tmp_path_factory):
    """precision -> workdir of the reference run."""
    folder = tmp_path_factory.mktemp("single")
    for precision in ("float32", "float64"):
        runs.train(dataset, folder / precision, {**SETTINGS, "train.precision": precision})
    return folder


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)], ids=["float32", "float64"]
)
@pytest.mark.parametrize(
    ("replicas", "workers"), [(2, 1), (4, 1), (1, 2)], ids=["2-replicas", "4-replicas", "2-workers"]
)
def test_layout_gives_the_single_devices_losses_and_weights(
    dataset, single_device, tmp_path, replicas, workers, precision, tolerance
):
    workdir = tmp_path / "run"
    settings = {**SETTINGS, "train.precision": precision, "train.replicas": replicas}
    result = runs.train(dataset, workdir, settings, workers=workers)
    assert (result["replicas"], result["workers"]) == (replicas * workers, workers)
    reference = single_device / precision
    assert len(runs.losses(workdir)) == STEPS
    assert runs.largest_difference(runs.losses(workdir), runs.losses(reference)) <= tolerance
    assert runs.largest_difference(runs.weights(workdir), runs.weights(reference)) <= tolerance
