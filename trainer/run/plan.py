"""The steps of a run, and a description of the run for people."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from data_pipeline import advice
from data_pipeline.batches.order import BatchOrder, Blocks
from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.dataset.summary import protocol
from trainer.config import RECIPES, Config, TrainConfig, make_config
from trainer.models.tables import is_sparse, table_of
from trainer.run.devices import Devices, counted
from trainer.workdir.workdir import Workdir

# The largest embedding tables of a model are described one by one.
SHOWN_TABLES = 4


@dataclass(frozen=True)
class StepPlan:
    """Which rows each step takes, and where training ends.

    Attributes:
        block_steps: steps per compiled call.
        last_step: where training ends, counted from the run's start: after the last epoch, or earlier.
    """

    order: BatchOrder
    block_steps: int
    last_step: int

    def blocks(self, *, first_step: int) -> Blocks:
        """The blocks of the steps that are left."""
        return self.order.blocks(
            first_step=first_step, last_step=self.last_step, block_steps=self.block_steps
        )


def plan_steps(config: TrainConfig, dataset: PreparedDataset) -> StepPlan:
    """The steps of a run on the training rows of a data set."""
    order = BatchOrder(dataset.num_rows("train"), config.global_batch_size, config.seed)
    of_all_epochs = config.epochs * order.steps_per_epoch
    return StepPlan(
        order=order,
        block_steps=choose_block_steps(order, config),
        last_step=min(of_all_epochs, config.max_steps or of_all_epochs),
    )


def plan_lines(
    config: Config,
    dataset: PreparedDataset,
    devices: Devices,
    steps: StepPlan,
    folder: Workdir,
) -> Iterator[str]:
    """One line per fact: data, settings, devices, and the arithmetic of the global batch."""
    manifest = dataset.manifest
    yield f"          {manifest['users']:,} users, {manifest['items']:,} items; {protocol(dataset)}"
    if manifest["rmse_floor"] is not None:
        floor = manifest["rmse_floor"]
        yield f"          planted noise: no model can reach a test RMSE much below {floor:.4f}"
    yield f"recipe    {recipe_and_changes(config)}; all settings are in config.json"
    yield from _rating_hints(config, dataset)
    yield f"devices   {devices.description}, {devices.precision}"
    batch, workers, local = config.train.global_batch_size, devices.num_workers, devices.local_replicas
    yield (
        f"batches   {batch:,} rows = {counted(workers, 'worker')} x {counted(local, 'replica')} "
        f"x {counted(batch // workers // local, 'row')}; {counted(steps.order.steps_per_epoch, 'step')} per "
        f"epoch, {steps.block_steps:,} per compiled call"
    )
    yield f"workdir   {shlex.quote(str(folder.path))}"


def _rating_hints(config: Config, dataset: PreparedDataset) -> Iterator[str]:
    """What an objective makes of ratings that it may not be meant for."""
    lowest, highest = dataset.manifest["rating_scale"]
    if not config.objective.is_ranking:
        if lowest == highest:
            ranking = advice.setting("objective.name", "bpr")
            yield (
                f"note      all ratings are {lowest:g}, which says nothing to objective.name="
                f"{config.objective.name}: give {ranking} to learn a ranking"
            )
    elif config.objective.positive_from is None and lowest <= 0 < highest:
        liked = min(highest, math.ceil(0.8 * highest))
        only = advice.setting("objective.positive_from", f"{liked:g}")
        yield (
            f"note      every rating counts as liked, those of {lowest:g} too: give {only} to learn from "
            f"ratings from {liked:g} on"
        )


def recipe_and_changes(config: Config) -> str:
    """The recipe, and the settings that differ from it, each as `--set` takes it.

    >>> recipe_and_changes(make_config("mf", RECIPES, ["train.epochs=2", "model.hidden_units=8,4"]))
    'mf with model.hidden_units=8,4 train.epochs=2'
    """
    recipe = make_config(config.recipe, RECIPES).flat() if config.recipe in RECIPES else Config().flat()
    changed = [
        shlex.quote(f"{key}={_as_text(value)}")
        for key, value in config.flat().items()
        if key != "recipe" and value != recipe[key]
    ]
    return f"{config.recipe} with {' '.join(changed)}" if changed else config.recipe


def _as_text(value: Any) -> str:
    """As `--set` takes it."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def memory_line(model: keras.Model, optimizer: keras.optimizers.Optimizer, config: Config) -> str:
    """How the largest embedding tables are trained, and the memory of weights and optimizer per device."""
    tables = sorted(filter(table_of, model.trainable_variables), key=_bytes, reverse=True)
    described = [
        f"{variable.path.split('/')[-2]} {variable.shape[0]:,} x {variable.shape[1]} "
        f"{'sparse' if is_sparse(variable) else 'dense'}"
        for variable in tables[:SHOWN_TABLES]
    ]
    if len(tables) > SHOWN_TABLES:
        described.append(f"{len(tables) - SHOWN_TABLES} smaller")
    weights, state = (
        sum(map(_bytes, variables)) / 1e6 for variables in (model.trainable_variables, optimizer.variables)
    )
    return (
        f"tables    {', '.join(described) or 'none'} (model.tables={config.model.tables}); "
        f"per device {weights:,.1f} MB of weights, {state:,.1f} MB of optimizer state"
    )


def _bytes(variable: Any) -> int:
    return math.prod(variable.shape) * tf.as_dtype(variable.dtype).size


# Rows of a compiled call when `train.steps_per_loop` is 0: tens of milliseconds of work, compared with which
# the call costs nothing, and a superbatch of about 1 MB.
AUTO_ROWS_PER_LOOP = 65_536


def choose_block_steps(order: BatchOrder, config: TrainConfig) -> int:
    """Steps per compiled call: `steps_per_loop`, or enough for about `AUTO_ROWS_PER_LOOP` rows.

    Never more than an epoch has, or than may lie between two checkpoints.
    """
    chosen = config.steps_per_loop or max(1, AUTO_ROWS_PER_LOOP // order.global_batch_size)
    return min(chosen, order.steps_per_epoch, config.checkpoint_every_steps or chosen)
