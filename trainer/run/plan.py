"""What a run is about to do, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from data_pipeline.batches.order import BatchOrder
from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.dataset.summary import protocol
from trainer.config import PARTS, Config, TrainConfig
from trainer.run.devices import Devices
from trainer.workdir.workdir import Workdir

# Of a model's embedding tables, the largest.
SHOWN_TABLES = 4


def plan_lines(
    config: Config,
    dataset: PreparedDataset,
    devices: Devices,
    order: BatchOrder,
    block_steps: int,
    folder: Workdir,
) -> Iterator[str]:
    """One line a fact: data, settings, devices, and how the global batch is cut, with the arithmetic."""
    manifest = dataset.manifest
    yield f"          {manifest['users']:,} users, {manifest['items']:,} items; {protocol(dataset)}"
    if manifest["rmse_floor"] is not None:
        yield f"          planted noise: no model can get a test RMSE much below {manifest['rmse_floor']:.4f}"
    yield f"recipe    {config.recipe}"
    for part in PARTS:
        values = (f"{k.partition('.')[2]}={v}" for k, v in config.flat().items() if k.startswith(part + "."))
        yield f"          {part}: {' '.join(values)}"
    batch, workers, local = config.train.global_batch_size, devices.num_workers, devices.local_replicas
    yield f"devices   {devices.description}, {devices.precision}"
    yield (
        f"batches   global batch {batch} = {workers} worker(s) x {local} replica(s) "
        f"x {batch // workers // local}; "
        f"{order.steps_per_epoch} steps an epoch, {block_steps} a compiled call"
    )
    yield f"workdir   {folder.path}"


def memory_line(model: keras.Model, optimizer: keras.optimizers.Optimizer, config: Config) -> str:
    """How the largest embedding tables are trained, and a device's memory for weights and optimizer."""
    tables = sorted((v for v in model.trainable_variables if hasattr(v, "table")), key=_bytes, reverse=True)
    ways = [
        f"{variable.path.split('/')[-2]} {variable.shape[0]:,} x {variable.shape[1]} "
        f"{'sparse' if variable.table.sparse else 'dense'}"
        for variable in tables[:SHOWN_TABLES]
    ]
    if len(tables) > SHOWN_TABLES:
        ways.append(f"{len(tables) - SHOWN_TABLES} smaller")
    weights, state = (
        sum(map(_bytes, variables)) / 1e6 for variables in (model.trainable_variables, optimizer.variables)
    )
    return (
        f"tables    {', '.join(ways) or 'none'} (model.tables={config.model.tables}); "
        f"{weights:,.1f} MB of weights + {state:,.1f} MB of optimizer state a device"
    )


def _bytes(variable: Any) -> int:
    return math.prod(variable.shape) * tf.as_dtype(variable.dtype).size


def batch_order(config: TrainConfig, dataset: PreparedDataset) -> BatchOrder:
    """The order in which a run takes the training rows."""
    return BatchOrder(dataset.num_rows("train"), config.global_batch_size, config.seed)


def last_step(config: TrainConfig, order: BatchOrder) -> int:
    """Where training ends, counted from the run's start: after the last epoch, or before."""
    whole = config.epochs * order.steps_per_epoch
    return min(whole, config.max_steps or whole)


# Rows of a compiled call when `train.steps_per_loop` is 0: some tens of milliseconds of work, beside which
# the call costs nothing, and a superbatch of about 1 MB.
AUTO_ROWS_PER_LOOP = 65_536


def choose_block_steps(order: BatchOrder, config: TrainConfig) -> int:
    """K: `steps_per_loop`, or enough for about `AUTO_ROWS_PER_LOOP` rows.

    At most an epoch's steps, and those between two checkpoints.
    """
    wanted = config.steps_per_loop or max(1, AUTO_ROWS_PER_LOOP // order.global_batch_size)
    return min(wanted, order.steps_per_epoch, config.checkpoint_every_steps or wanted)
