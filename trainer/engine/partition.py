"""How a step is partitioned: into replicas, shares of a replica's cores, chunks, and compiled programs."""

from __future__ import annotations

import enum
from dataclasses import dataclass

# At this many rows per core, splitting the batch among the cores outweighs running step by step.
STEPWISE_ROWS_PER_THREAD = 1024
# Rows of a chunk on a CPU: 512 x 128 float32 activations are 256 KB. 256 and 512 were best of 128 to 4,096.
CHUNK_ROWS = 512


class Mode(enum.Enum):
    """What is compiled as one XLA program."""

    WHOLE_BLOCK = "all steps of a block"
    FUSED_REPLICA = "all that a replica computes in one step"
    STEPWISE = "the gradients of a share, and the dense update"


@dataclass(frozen=True)
class Partition:
    """How each step of a block is divided.

    Attributes:
        num_replicas: devices that train together, over all workers.
        replica_rows: rows of the global batch per replica.
        shares: parts of a replica's rows, one per core, computed at the same time.
        num_chunks: parts of a share, computed one after the other.
        traced_flags: whether one program serves the first, the last and the other steps of a block, chosen by
            a tensor: less to compile. A GPU would wait for the tensor, so it gets a program for each.
    """

    mode: Mode
    num_replicas: int
    replica_rows: int
    shares: int
    num_chunks: int
    traced_flags: bool

    @property
    def is_alone(self) -> bool:
        """Whether there is one replica, so that nothing is reduced."""
        return self.num_replicas == 1


def partition_steps(
    *,
    num_replicas: int,
    global_batch_size: int,
    threads: int,
    accumulation_steps: int = 1,
    has_sparse_tables: bool = False,
    pairs_per_row: int = 1,
) -> Partition:
    """Chooses the partition of a step.

    Args:
        threads: cores of each replica on a CPU; 0 on a GPU.
        has_sparse_tables: these are updated in place, between programs.
        pairs_per_row: how often the model runs for a row.
    """
    replica_rows = global_batch_size // num_replicas
    many_rows = threads > 0 and replica_rows >= STEPWISE_ROWS_PER_THREAD * max(2, threads)
    # With few rows one program for all of them is faster, where the tables allow it.
    can_share = threads > 0 and (has_sparse_tables or many_rows)
    is_even = replica_rows % (max(1, threads) * accumulation_steps) == 0
    shares = threads if can_share and is_even else 1
    if has_sparse_tables:
        mode = Mode.STEPWISE
    elif num_replicas == 1:
        mode = Mode.STEPWISE if many_rows else Mode.WHOLE_BLOCK
    else:
        # Cores that share a replica's rows run one program each.
        mode = Mode.FUSED_REPLICA if shares == 1 else Mode.STEPWISE
    return Partition(
        mode=mode,
        num_replicas=num_replicas,
        replica_rows=replica_rows,
        shares=shares,
        num_chunks=num_chunks(
            replica_rows // shares,
            accumulation_steps=accumulation_steps,
            on_cpu=threads > 0 and mode is not Mode.WHOLE_BLOCK,
            pairs_per_row=pairs_per_row,
        ),
        traced_flags=mode is Mode.FUSED_REPLICA and threads > 0,
    )


def num_chunks(num_rows: int, *, accumulation_steps: int, on_cpu: bool, pairs_per_row: int = 1) -> int:
    """The number of chunks of a share of `num_rows` rows: at least `accumulation_steps`.

    Args:
        pairs_per_row: how often the model runs for a row.

    >>> num_chunks(4096, accumulation_steps=1, on_cpu=True)
    8
    """
    most_rows = num_rows // accumulation_steps
    chunk_rows = max(1, CHUNK_ROWS // pairs_per_row)
    if not on_cpu or most_rows <= chunk_rows:
        return accumulation_steps
    fewest = -(-most_rows // chunk_rows)
    # The next count that divides the rows evenly, unless none is near.
    for count in range(fewest, 2 * fewest):
        if most_rows % count == 0:
            return accumulation_steps * count
    return accumulation_steps
