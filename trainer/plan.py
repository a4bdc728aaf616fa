"""What a run is about to do, in words."""

from __future__ import annotations

from collections.abc import Iterator

from data_pipeline.dataset import PreparedDataset
from data_pipeline.order import BatchOrder
from trainer.config import PARTS, Config
from trainer.devices import Devices
from trainer.optimizers import state_variables_per_weight
from trainer.protocol import protocol
from trainer.workdir import Workdir


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
    yield from _table_lines(config, dataset, devices)
    yield f"workdir   {folder.path}"


def _table_lines(config: Config, dataset: PreparedDataset, devices: Devices) -> Iterator[str]:
    """How each embedding table is trained, and the memory of tables and optimizer state on each device."""
    dim = config.model.embedding_dim
    tables = {"user": len(dataset.user_vocabulary), "item": len(dataset.item_vocabulary)}
    ways = ", ".join(
        f"{name} {rows:,} x {dim} {'sparse' if config.model.is_sparse(rows) else 'dense'}"
        for name, rows in tables.items()
    )
    weight_bytes = 8 if devices.precision == "float64" else 4
    weights = sum(tables.values()) * dim * weight_bytes
    state = weights * state_variables_per_weight(config.optimizer, embedding_dim=dim)
    yield (
        f"tables    {ways} (model.tables={config.model.tables}); "
        f"{weights / 1e6:,.1f} MB of weights + {state / 1e6:,.1f} MB of optimizer state a device"
    )
