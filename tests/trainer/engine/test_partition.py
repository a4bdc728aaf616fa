"""How a step is divided, case by case."""

import pytest

from trainer.engine.partition import Mode, partition_steps

GPU = {"threads": 0}
FEW, MANY = 1024, 8192  # rows: less and more than 1,024 per core of two


@pytest.mark.parametrize(
    ("case", "mode", "shares", "num_chunks"),
    [
        # One replica: one program, unless tables are updated in place or several cores pay off.
        ({"global_batch_size": FEW, "threads": 2}, Mode.WHOLE_BLOCK, 1, 1),
        ({"global_batch_size": FEW, "threads": 1}, Mode.WHOLE_BLOCK, 1, 1),
        ({"global_batch_size": MANY, **GPU}, Mode.WHOLE_BLOCK, 1, 1),
        ({"global_batch_size": MANY, "threads": 2}, Mode.STEPWISE, 2, 8),
        ({"global_batch_size": 2047, "threads": 1}, Mode.WHOLE_BLOCK, 1, 1),
        ({"global_batch_size": 2048, "threads": 1}, Mode.STEPWISE, 1, 4),
        ({"global_batch_size": FEW, "threads": 2, "has_sparse_tables": True}, Mode.STEPWISE, 2, 1),
        ({"global_batch_size": MANY, **GPU, "has_sparse_tables": True}, Mode.STEPWISE, 1, 1),
        # Several replicas: one program for each, unless cores share its rows.
        ({"num_replicas": 2, "global_batch_size": FEW, "threads": 1}, Mode.FUSED_REPLICA, 1, 1),
        ({"num_replicas": 2, "global_batch_size": MANY, **GPU}, Mode.FUSED_REPLICA, 1, 1),
        ({"num_replicas": 2, "global_batch_size": MANY, "threads": 2}, Mode.STEPWISE, 2, 4),
        ({"num_replicas": 2, "global_batch_size": MANY, "threads": 1}, Mode.FUSED_REPLICA, 1, 8),
        (
            {"num_replicas": 2, "global_batch_size": 8, "threads": 2, "has_sparse_tables": True},
            Mode.STEPWISE,
            2,
            1,
        ),
        # Rows that the cores cannot share evenly stay together.
        ({"global_batch_size": MANY + 1, "threads": 2}, Mode.STEPWISE, 1, 1),
        ({"num_replicas": 2, "global_batch_size": 2 * (MANY + 1), "threads": 2}, Mode.FUSED_REPLICA, 1, 1),
        # Accumulation cuts each share at least that often.
        ({"global_batch_size": FEW, "threads": 2, "accumulation_steps": 4}, Mode.WHOLE_BLOCK, 1, 4),
        ({"global_batch_size": MANY, "threads": 2, "accumulation_steps": 4}, Mode.STEPWISE, 2, 8),
        ({"global_batch_size": MANY, **GPU, "accumulation_steps": 4}, Mode.WHOLE_BLOCK, 1, 4),
        # A model that runs five times per row has chunks of a fifth.
        ({"global_batch_size": MANY, "threads": 2, "pairs_per_row": 5}, Mode.STEPWISE, 2, 64),
    ],
)
def test_a_step_is_divided_by_devices_rows_and_tables(case, mode, shares, num_chunks):
    partition = partition_steps(**{"num_replicas": 1, **case})
    assert (partition.mode, partition.shares, partition.num_chunks) == (mode, shares, num_chunks)
    assert partition.replica_rows * partition.num_replicas == case["global_batch_size"]
    assert partition.is_alone == (partition.num_replicas == 1)


def test_only_a_cpus_fused_program_chooses_by_a_tensor():
    cases = {
        (num_replicas, threads, sparse): partition_steps(
            num_replicas=num_replicas, global_batch_size=8, threads=threads, has_sparse_tables=sparse
        ).traced_flags
        for num_replicas in (1, 2)
        for threads in (0, 1)
        for sparse in (False, True)
    }
    assert [case for case, traced in cases.items() if traced] == [(2, 1, False)]
