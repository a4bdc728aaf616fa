"""Rows/s of shuffled batches, counted by their consumer: one method of `input_pipeline.py`.

The job has `way`, `path` (an Arrow file of one split), `batch` and `secs` (time limit), and may have `group`
(a cgroup to enter), `cold` (drop the file from the page cache), `shard`, `num_shards`, and `start` (a
fraction of the epoch). Padding rows are counted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.children import serve
from harness.limits import drop_cache, enter, io_bytes

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
SHUFFLE_BUFFER = 100_000
# Rows that `streamed` reads at a time.
STREAMED_ROWS = 2**16
Feed = Iterator[dict[str, Any]]


def measure(job: dict[str, Any]) -> dict[str, Any]:
    if job.get("group"):
        enter(Path(job["group"]))
    import tensorflow  # noqa: F401  # counts in the group, but is not timed

    path = Path(job["path"])
    before_rss = _rss_mib()
    if job.get("cold"):
        drop_cache(path)
    io_before, cpu_before = io_bytes(), time.process_time()
    begin = time.perf_counter()
    feed = WAYS[job["way"]](path, job)
    # The first element comes after shuffle buffers and pipelines are filled; its time is reported separately.
    rows = next(feed)["rating"].shape.num_elements()
    first = last = time.perf_counter()
    rows_after_first = 0
    for element in feed:
        rows_after_first += element["rating"].shape.num_elements()
        last = time.perf_counter()
        if last - first > job["secs"]:
            break
    cpu_secs = time.process_time() - cpu_before
    io_after = io_bytes()
    return {
        "rows_per_sec": rows_after_first / (last - first) if rows_after_first else None,
        "rows": rows + rows_after_first,
        "first_secs": first - begin,
        "secs": last - begin,
        "cores": cpu_secs / (last - begin),
        "asked_bytes": io_after["rchar"] - io_before["rchar"],
        "disk_bytes": io_after["read_bytes"] - io_before["read_bytes"],
        "rss_before_mib": before_rss,
    }


def ours(path: Path, job: dict[str, Any]) -> Feed:
    from data_pipeline.batches.order import BatchOrder
    from data_pipeline.batches.superbatches import superbatches
    from data_pipeline.dataset.columns import Columns

    columns = Columns.open(path)
    order = BatchOrder(len(columns), job["batch"], seed=0)
    block_steps = max(1, 65_536 // job["batch"])  # as trainer/run/plan.py chooses
    shard, num_shards = job.get("shard", 0), job.get("num_shards", 1)
    blocks = order.blocks(
        first_step=round(job.get("start", 0) * order.steps_per_epoch),
        last_step=order.steps_per_epoch,
        block_steps=block_steps,
    )
    yield from superbatches(
        columns,
        order,
        blocks,
        block_steps=block_steps,
        shards=range(shard, shard + 1),
        num_shards=num_shards,
    )


def tensor_slices(path: Path, job: dict[str, Any]) -> Feed:
    """The obvious tf.data pipeline."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(_arrays(path))
    yield from data.shuffle(SHUFFLE_BUFFER).batch(job["batch"])


def tensor_slices_tuned(path: Path, job: dict[str, Any]) -> Feed:
    """The same with parallel batching and prefetching, as the tf.data performance guide advises."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(_arrays(path))
    data = data.shuffle(SHUFFLE_BUFFER)
    yield from data.batch(job["batch"], num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def gather(path: Path, job: dict[str, Any]) -> Feed:
    """Batches of a permutation of all rows, gathered from tensors in memory."""
    import numpy as np
    import tensorflow as tf

    arrays = {name: tf.constant(array) for name, array in _arrays(path).items()}
    permutation = np.random.default_rng(0).permutation(len(arrays["rating"])).astype(np.int32)
    yield from (
        tf.data.Dataset.from_tensor_slices(permutation)
        .batch(job["batch"])
        .map(lambda rows: {name: tf.gather(array, rows) for name, array in arrays.items()}, tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def mapped_gather(path: Path, job: dict[str, Any]) -> Feed:
    """Batches of random rows, gathered from the memory-mapped file: each row touches another page."""
    import numpy as np
    import tensorflow as tf

    from data_pipeline.dataset.columns import DTYPES, SEGMENT_ROWS, Columns

    columns = Columns.open(path)
    names = columns.names
    words = np.memmap(path, np.uint32, mode="r", shape=path.stat().st_size // 4)
    firsts = {name: np.array([s.offsets[name] // 4 for s in columns.segments]) for name in names}
    num_rows = len(columns)

    def gathered(begin: int) -> list[np.ndarray]:
        # Drawn with replacement: a permutation of all rows would exceed the memory limit.
        rows = np.random.default_rng(begin).integers(num_rows, size=job["batch"])
        segment, within = np.divmod(rows, SEGMENT_ROWS)
        return [words[firsts[name][segment] + within].view(DTYPES[name]) for name in names]

    types = [tf.int32, tf.int32, tf.float32]

    def element(begin: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.numpy_function(gathered, [begin], types)
        return {name: tf.ensure_shape(v, [job["batch"]]) for name, v in zip(names, values, strict=True)}

    numbers = tf.data.Dataset.range(num_rows // job["batch"])
    yield from numbers.map(element, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def streamed(path: Path, job: dict[str, Any]) -> Feed:
    """The file from start to end through a shuffle buffer, whose size limits how far rows move."""
    import numpy as np
    import pyarrow as pa
    import tensorflow as tf

    names = ("user_index", "item_index", "rating")

    def pieces() -> Iterator[tuple[np.ndarray, ...]]:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            for begin in range(0, len(batch), STREAMED_ROWS):
                yield tuple(batch[name][begin : begin + STREAMED_ROWS].to_numpy() for name in names)

    signature = tuple(tf.TensorSpec([None], dtype) for dtype in (tf.int32, tf.int32, tf.float32))
    data = tf.data.Dataset.from_generator(pieces, output_signature=signature).unbatch()
    data = data.shuffle(SHUFFLE_BUFFER).batch(job["batch"]).prefetch(tf.data.AUTOTUNE)
    yield from (dict(zip(names, element, strict=True)) for element in data)


WAYS: dict[str, Callable[[Path, dict[str, Any]], Feed]] = {
    "ours": ours,
    "tensor_slices": tensor_slices,
    "tensor_slices_tuned": tensor_slices_tuned,
    "gather": gather,
    "mapped_gather": mapped_gather,
    "streamed": streamed,
}


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    from data_pipeline.dataset.columns import Columns

    columns = Columns.open(path)
    arrays = {name: getattr(columns, name) for name in ("user_index", "item_index", "rating")}
    return {**arrays, "weight": np.ones(len(columns), np.float32)}


def _rss_mib() -> float:
    """Resident memory of this process in MiB, without mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    serve(measure)
