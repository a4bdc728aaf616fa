"""What TensorBoard reads back is what was trained."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from support import runs
from trainer.config import Config
from trainer.workdir.scalars import ScalarLog
from trainer.workdir.workdir import Workdir


def read(workdir):
    events = EventAccumulator(str(workdir / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


def points(events, tag):
    return [(point.step, point.value) for point in events.Scalars(tag)]


@pytest.mark.slow
def test_event_files_hold_the_curves_of_a_run(tmp_path):
    data = runs.prepare_generated(tmp_path / "dataset", num_train=2000, num_validation=200)
    workdir = tmp_path / "run"
    settings = {"train.epochs": 3, "train.global_batch_size": 100, "train.log_every_steps": 5}
    result = runs.train(data, workdir, settings)
    events = read(workdir)
    losses = points(events, "train/loss")
    assert [step for step, _ in losses] == list(range(5, 61, 5))
    assert losses[0][1] > 3 * losses[-1][1]
    for tag in ("validation/loss", "validation/rmse", "validation/mae"):
        assert [step for step, _ in points(events, tag)] == [20, 40, 60]
    assert points(events, "train/learning_rate") == [(step, pytest.approx(1e-3)) for step in (20, 40, 60)]
    speed = points(events, "speed/examples_per_sec")
    assert [step for step, _ in speed] == [40, 60]  # the first block, all of an epoch here, compiles
    assert all(value > 0 for _, value in speed)
    assert points(events, "test/rmse") == [(60, pytest.approx(result["test_rmse"]))]
    assert points(events, "train/epoch_loss")[-1] == (60, pytest.approx(result["train_loss"]))
    (config,) = (
        events.Tensors("config/text_summary")
        if "config/text_summary" in events.Tags()["tensors"]
        else (events.Tensors("config"))
    )
    assert b"| train.global_batch_size | 100 |" in config.tensor_proto.string_val[0]

    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    logged = [(line["step"], pytest.approx(line["train/loss"])) for line in lines if "train/loss" in line]
    assert losses == logged


@pytest.mark.slow
def test_points_of_the_loss_do_not_depend_on_the_steps_of_a_call(tmp_path):
    data = runs.prepare_generated(tmp_path / "dataset", num_train=700)
    curves = []
    for steps_per_loop in (1, 4, 0):
        settings = {"train.epochs": 2, "train.global_batch_size": 32, "train.log_every_steps": 10}
        workdir = tmp_path / f"run-{steps_per_loop}"
        runs.train(data, workdir, {**settings, "train.steps_per_loop": steps_per_loop})
        curves.append(runs.losses(workdir))
    assert list(curves[0]) == [10, 20, 22, 32, 42, 44]  # of 22 steps an epoch
    for other in curves[1:]:
        assert runs.largest_difference(curves[0], other) <= 1e-6


def test_points_after_the_last_checkpoint_are_not_shown_twice(tmp_path):
    workdir = Workdir(tmp_path)
    killed = ScalarLog(workdir, first_step=0)
    for step in range(1, 8):
        killed.add(step, {"train/loss": 1.0})
    killed.close()
    with workdir.metrics.open("a") as file:
        file.write('{"step": 8, "train/lo')  # the half line of a killed writer

    resumed = ScalarLog(workdir, first_step=4)
    for step in range(5, 7):
        resumed.add(step, {"train/loss": 2.0})
    resumed.close()
    expected = [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 2.0), (6, 2.0)]
    assert points(read(tmp_path), "train/loss") == expected
    assert list(runs.losses(tmp_path).items()) == expected


def test_the_configuration_is_a_table_in_the_text_tab(tmp_path):
    curves = ScalarLog(Workdir(tmp_path), first_step=0)
    curves.add_config(Config(recipe="mine"))
    curves.close()
    (point,) = read(tmp_path).Tensors("config")
    text = point.tensor_proto.string_val[0].decode()
    assert text.splitlines()[:3] == ["| setting | value |", "|---|---|", "| recipe | mine |"]
