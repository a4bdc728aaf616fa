"""Loss scaling and finiteness across replicas; each case in a process of its own."""

import json
import subprocess
import textwrap

import pytest

from support import runs

pytestmark = pytest.mark.slow

# Two replicas, three steps; a rating of 1e15 on one replica overflows float16 gradients in the second step.
CHILD = """
import json, sys
import numpy as np, keras, tensorflow as tf
from trainer.config import ModelConfig, TrainConfig
from trainer.run.caller import keras_in
from trainer.run.devices import set_up_devices
from trainer.engine import partition
from trainer.engine.engine import Engine
from trainer.models import build_model
from trainer.models.inputs import ModelInputs

bad_replica, precision, threads = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
partition.STEPWISE_ROWS_PER_THREAD = 1  # so that two cores share four rows
devices = set_up_devices(TrainConfig(replicas=2, global_batch_size=8, precision=precision))
keras.utils.set_random_seed(0)
with keras_in(devices.precision), devices.strategy.scope():
    model = build_model(ModelConfig(hidden_units=(4,)), ModelInputs(5, 5))
    engine = Engine(model, keras.optimizers.Adam(0.01), strategy=devices.strategy, global_batch_size=8,
                    block_steps=3, threads=threads, use_loss_scaling=precision == "mixed_float16")

def columns(context):
    replica = context.replica_id_in_sync_group
    rating = np.full((3, 4), 3.0, np.float32)
    if replica == bad_replica:
        rating[1, 2] = 1e15
    index = np.tile(np.arange(1, 5, dtype=np.int32), (3, 1))
    return {"user_index": tf.constant(index), "item_index": tf.constant(index),
            "rating": tf.constant(rating), "weight": tf.ones((3, 4))}

superbatch = devices.strategy.experimental_distribute_values_from_function(columns)
initial = [v.numpy() for v in model.trainable_variables]
engine.train_block(superbatch, 1)
after_one = [v.numpy() for v in model.trainable_variables]
scale = engine.loss_scale and float(engine.loss_scale.scale.numpy())
# The same superbatch again: its first step is good, its second is not.
losses, _ = engine.train_block(superbatch, 2)
per_replica = [[part.numpy() for part in devices.strategy.experimental_local_results(v.value)]
               for v in model.trainable_variables]
print(json.dumps({
    "losses": [float(loss) for loss in losses],
    "moved": max(float(abs(a - b).max()) for a, b in zip(initial, after_one)),
    "finite": all(bool(np.isfinite(p).all()) for parts in per_replica for p in parts),
    "replicas_equal": all(bool((parts[0] == parts[1]).all()) for parts in per_replica),
    "scale_before": scale,
    "scale_after": engine.loss_scale and float(engine.loss_scale.scale.numpy()),
    "updates": int(engine.optimizer.iterations.numpy()),
}))
"""


def run_child(bad_replica, precision, *, threads=1):
    done = subprocess.run(
        [str(runs.python()), "-c", textwrap.dedent(CHILD), str(bad_replica), precision, str(threads)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# One program for all steps; three, as on a GPU; a program for each of two cores.
@pytest.mark.parametrize(("bad_replica", "threads"), [(0, 1), (1, 1), (1, 0), (0, 2)])
def test_overflow_on_any_one_replica_skips_the_step_on_all_and_halves_the_scale(bad_replica, threads):
    result = run_child(bad_replica, "mixed_float16", threads=threads)
    assert result["moved"] > 0
    assert result["finite"]
    assert result["replicas_equal"]
    assert result["scale_after"] == result["scale_before"] / 2
    assert result["updates"] == 2  # three steps, of which one was skipped


def test_without_overflow_every_step_counts():
    result = run_child(-1, "mixed_float16")
    assert result["updates"] == 3
    assert result["scale_after"] == result["scale_before"]


def test_losses_do_not_depend_on_how_a_step_is_cut_into_programs():
    one_program, *others = (run_child(-1, "float64", threads=threads) for threads in (1, 0, 2))
    for result in others:
        assert result["losses"] == pytest.approx(one_program["losses"], rel=1e-13, abs=0)
        assert result["updates"] == one_program["updates"] == 3
