"""What a checkpoint holds is restored whole, from the newest that is undamaged, or not at all."""

import math
import os
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_pipeline.errors import UserError
from support.limits import file_size_limit
from trainer.config import ModelConfig, OptimizerConfig, TrainConfig
from trainer.engine.engine import Engine
from trainer.engine.optimizers import make_optimizer
from trainer.models import build_model
from trainer.models.inputs import ModelInputs
from trainer.workdir import checkpoint_files
from trainer.workdir.checkpoint import Checkpoints, Position, restore_weights
from trainer.workdir.workdir import Workdir

DATA = "ckpt-{}.data-00000-of-00001"
INDEX = "ckpt-{}.index"


def make_engine(*, users=10):
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    model = build_model(ModelConfig(), ModelInputs(num_user_rows=users, num_item_rows=12))
    return Engine(
        model,
        make_optimizer(OptimizerConfig()),
        strategy=tf.distribute.get_strategy(),
        global_batch_size=8,
        block_steps=1,
    )


def make_checkpoints(path, engine, *, keep=3):
    return Checkpoints(Workdir(path), engine, keep=keep, writes=True)


def set_all(engine, value):
    for variable in engine.model.variables:
        variable.assign(np.full(variable.shape, value))


def first_weight(engine):
    return float(engine.model.variables[0].numpy().flat[0])


def save_three(path, **options):
    """Checkpoints of steps 10, 20, 30 whose weights are 1, 2, 3; the lowest validation loss is step 20's."""
    engine = make_engine()
    checkpoints = make_checkpoints(path, engine, **options)
    for number in (1, 2, 3):
        set_all(engine, number)
        best = min(number, 2)
        checkpoints.save(Position(10 * number, best_value=1 / best, best_step=10 * best))
        set_all(engine, 99)  # while it is being written
    checkpoints.wait()
    checkpoints.close()
    return path / "checkpoints"


def restore(path):
    engine = make_engine()
    position = make_checkpoints(path, engine).restore()
    return position.step, first_weight(engine)


def test_position_weights_and_optimizer_come_back_exactly(tmp_path):
    engine = make_engine()
    engine.optimizer.iterations.assign(7)
    set_all(engine, 1 / 3)
    position = Position(7, 0.1, (0.25, 1 / 3), best_value=0.5, best_step=4)
    checkpoints = make_checkpoints(tmp_path, engine)
    checkpoints.save(position)
    checkpoints.wait()
    other = make_engine()
    assert make_checkpoints(tmp_path, other).restore() == position
    assert int(other.optimizer.iterations.numpy()) == 7
    for ours, theirs in zip(engine.model.variables, other.model.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_without_a_checkpoint_a_run_begins_at_its_beginning(tmp_path):
    assert make_checkpoints(tmp_path, make_engine()).restore() == Position(0, best_value=math.inf)


def test_what_is_saved_is_the_state_of_that_moment_not_of_later(tmp_path):
    save_three(tmp_path)
    assert restore(tmp_path) == (30, 3)


def test_the_newest_and_the_best_stay(tmp_path):
    folder = save_three(tmp_path, keep=1)
    assert checkpoint_files.steps_in(folder) == [30]
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith("ckpt")) == [
        DATA.format(30),
        INDEX.format(30),
    ]
    assert checkpoint_files.steps_in(folder / "best") == [20]
    model = make_engine().model
    assert restore_weights(model, folder / "best") == 20
    assert float(model.variables[0].numpy().flat[0]) == 2
    assert tf.train.latest_checkpoint(str(folder)) == str(folder / "ckpt-30")


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


DAMAGE = {
    "flipped data": lambda folder: flip(folder / DATA.format(30), 100),
    "truncated data": lambda folder: os.truncate(folder / DATA.format(30), 50),
    "no data": lambda folder: (folder / DATA.format(30)).unlink(),
    "flipped index": lambda folder: flip(folder / INDEX.format(30), 100),
    "truncated index": lambda folder: os.truncate(folder / INDEX.format(30), 100),
    "empty index": lambda folder: os.truncate(folder / INDEX.format(30), 0),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_newest_falls_back_to_the_one_before_with_a_warning(tmp_path, caplog, how):
    folder = save_three(tmp_path)
    DAMAGE[how](folder)
    assert restore(tmp_path) == (20, 2)
    expected = f"checkpoint {folder / 'ckpt-30'} is damaged: restored the one of step 20 instead"
    assert caplog.messages == [expected]


def test_a_damaged_state_file_changes_nothing(tmp_path):
    (save_three(tmp_path) / "checkpoint").write_bytes(b"\x00\xffgarbage")
    assert restore(tmp_path) == (30, 3)


def test_only_if_all_are_damaged_it_is_an_error(tmp_path):
    folder = save_three(tmp_path)
    for step in (10, 20, 30):
        flip(folder / DATA.format(step), 100)
    with pytest.raises(UserError, match="needs an undamaged checkpoint, got 3, all damaged"):
        restore(tmp_path)


def test_the_next_save_removes_the_damaged_one_that_was_passed_over(tmp_path):
    folder = save_three(tmp_path)
    os.truncate(folder / INDEX.format(30), 0)
    engine = make_engine()
    checkpoints = make_checkpoints(tmp_path, engine)
    checkpoints.restore()
    checkpoints.save(Position(25))
    checkpoints.wait()
    assert checkpoint_files.steps_in(folder) == [10, 20, 25]


def test_a_checkpoint_of_another_model_is_refused_by_variable_and_left_as_it_is(tmp_path):
    folder = save_three(tmp_path)
    before = {path: path.read_bytes() for path in folder.glob("ckpt*")}
    rule = r"user_embedding/embeddings has shape \[10, 5\] there and shape \[11, 5\] here"
    with pytest.raises(UserError, match=rule):
        make_checkpoints(tmp_path, make_engine(users=11)).restore()
    with pytest.raises(UserError, match=rule):
        restore_weights(make_engine(users=11).model, folder)
    assert {path: path.read_bytes() for path in folder.glob("ckpt*")} == before


def test_where_the_disk_is_full_the_earlier_ones_are_intact(tmp_path):
    folder = save_three(tmp_path)
    checkpoints = make_checkpoints(tmp_path, make_engine())
    checkpoints.restore()
    with file_size_limit(1000):
        checkpoints.save(Position(40))
        with pytest.raises(checkpoint_files.SaveError, match=r"step 40 could not be saved in .*: .*large"):
            checkpoints.wait()
    assert checkpoint_files.steps_in(folder) == [10, 20, 30]
    assert not (folder / ".saving").exists()
    assert restore(tmp_path) == (30, 3)


def test_training_hears_of_a_failed_write_before_the_next_save(tmp_path):
    checkpoints = make_checkpoints(tmp_path, make_engine())
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    checkpoints.save(Position(1))
    deadline = time.monotonic() + 10
    while not checkpoints._pending.done() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(checkpoint_files.SaveError, match="step 1 could not be saved"):
        checkpoints.check()


def test_checkpoints_are_due_before_more_steps_than_the_interval_could_be_lost():
    from trainer.workdir.checkpoint import SaveDue

    due = SaveDue(TrainConfig(checkpoint_every_steps=100), saved_step=0)
    assert not due.now(50, next_steps=50)
    assert due.now(64, next_steps=64)
    assert due.now(100, next_steps=50)
    soon = SaveDue(TrainConfig(checkpoint_every_minutes=1e-9), saved_step=0)
    time.sleep(0.001)
    assert soon.now(1, next_steps=1)
    assert not SaveDue(TrainConfig(checkpoint_every_minutes=0), saved_step=0).now(10**9, next_steps=1)


def test_a_worker_that_does_not_write_restores_and_saves_nothing(tmp_path):
    folder = save_three(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    checkpoints = Checkpoints(Workdir(tmp_path), make_engine(), keep=1, writes=False)
    assert checkpoints.restore().step == 30
    checkpoints.save(Position(40))
    checkpoints.wait()
    checkpoints.close()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
