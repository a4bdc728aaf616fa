"""Rows/s of shuffled batches: reeltrain and tf.data, from memory and from disk under a memory limit.

Each method runs in a separate process that reads the same Arrow file and iterates over batches in Python,
like a training loop. Rows are counted by the consumer. The figures are medians over the rounds.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from harness.arguments import count, fail, make_parser, require_free_disk
from harness.children import run_contender
from harness.limits import memory_limit, peak_bytes
from harness.machine import describe, machine_facts
from harness.programs import end_cleanly_on_sigterm

from data_pipeline.dataset.columns import SEGMENT_ROWS

ROW_BYTES = 12
NUM_USERS, NUM_ITEMS = 138_493, 26_744  # as in MovieLens-20M
NAIVE_BATCH = 1024
NAIVE_WAYS = {
    "tensor_slices": "from_tensor_slices().shuffle(100_000).batch(1024)",
    "tensor_slices_tuned": "the same, parallel batch, prefetch",
    "gather": "batches of a permutation, tf.gather, prefetch",
}
DISK_WAYS = {
    "tensor_slices": "from_tensor_slices().shuffle(100_000).batch(1024)",
    "mapped_gather": "random rows of the mapped file",
    "streamed": "from_generator(), unbatch, shuffle(100_000)",
}
TARGET_MEMORY, TARGET_DISK, TARGET_RATIO = 60e6, 20e6, 100.0


def main() -> None:
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--rows", type=count, help="rows read from memory  [default: 20 million]")
    parser.add_argument("--disk-rows", type=count, help="rows read from disk  [default: 160 million]")
    parser.add_argument("--folder", type=Path, help="folder on the disk to measure  [default: temporary]")
    args = parser.parse_args()
    if args.folder and not args.folder.is_dir():
        fail(f"--folder must be a folder, got {args.folder}")
    end_cleanly_on_sigterm()
    rows = args.rows or (2_000_000 if args.quick else 20_000_000)
    disk_rows = args.disk_rows or (4_000_000 if args.quick else 160_000_000)
    rounds, secs = (1, 2.0) if args.quick else (args.rounds, 5.0)
    batches = [NAIVE_BATCH] if args.quick else [32, NAIVE_BATCH, 8192, 65_536]

    figures: dict[str, Any] = {"machine": machine_facts(), "rows": rows, "rounds": rounds}
    with tempfile.TemporaryDirectory(prefix="reeltrain-benchmark-", dir=args.folder) as folder:
        require_free_disk(Path(folder), max(rows, disk_rows) * ROW_BYTES)
        path = write_split(Path(folder) / "memory.arrow", rows)
        job = {"path": str(path), "secs": secs}
        figures["memory"] = _from_memory(job, batches, rounds)
        figures["seek"] = _seek(job)
        path.unlink()
        print("from memory: done", file=sys.stderr, flush=True)
        path = write_split(Path(folder) / "disk.arrow", disk_rows)
        job = {
            "path": str(path),
            "secs": 60.0 if not args.quick else 10.0,
            "cold": True,
            "batch": NAIVE_BATCH,
        }
        figures["disk"] = _from_disk(job, path.stat().st_size, rounds)
        figures["shares"] = {"the only one": figures["disk"]["ways"]["ours"], **_shares(job)}
    print(_table(figures))
    if args.json:
        print(json.dumps(figures))


def write_split(path: Path, num_rows: int) -> Path:
    """Writes a split as `prepare` stores it, with random ids and ratings; all segments are equal."""
    rng = np.random.default_rng(0)
    columns = [
        rng.integers(1, NUM_USERS + 1, SEGMENT_ROWS, dtype=np.int32),
        rng.integers(1, NUM_ITEMS + 1, SEGMENT_ROWS, dtype=np.int32),
        rng.integers(1, 6, SEGMENT_ROWS, dtype=np.int32).astype(np.float32),
    ]
    schema = pa.schema([("user_index", pa.int32()), ("item_index", pa.int32()), ("rating", pa.float32())])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for begin in range(0, num_rows, SEGMENT_ROWS):
            length = min(SEGMENT_ROWS, num_rows - begin)
            arrays = [pa.array(column[:length]) for column in columns]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
    return path


def _median(job: dict[str, Any], rounds: int, **options: Any) -> dict[str, Any]:
    """The run with the median speed, plus all speeds; or the error of the first run that failed."""
    runs = []
    for _ in range(rounds):
        result = run_contender("feed", {**job, **options})
        if "error" in result:
            return result
        runs.append(result)
    runs.sort(key=lambda run: run["rows_per_sec"])
    speeds = [run["rows_per_sec"] for run in runs]
    return {**runs[(len(runs) - 1) // 2], "rows_per_sec": statistics.median(speeds), "all": speeds}


def _from_memory(job: dict[str, Any], batches: list[int], rounds: int) -> dict[str, Any]:
    figures: dict[str, Any] = {"ours": {}}
    for batch in batches:
        figures["ours"][batch] = _median(job, rounds, way="ours", batch=batch)
    for way in NAIVE_WAYS:
        figures[way] = _median(job, rounds, way=way, batch=NAIVE_BATCH)
        ours = figures["ours"][NAIVE_BATCH]
        if "error" not in figures[way] and "error" not in ours:
            figures[way]["ratio"] = ours["rows_per_sec"] / figures[way]["rows_per_sec"]
    return figures


def _seek(job: dict[str, Any]) -> dict[str, float]:
    """Seconds to the first superbatch, starting at the first step of an epoch and in its middle."""
    job = {**job, "way": "ours", "batch": NAIVE_BATCH, "secs": 0.5}
    return {
        start: run_contender("feed", {**job, "start": float(start)}).get("first_secs", float("nan"))
        for start in ("0", "0.5")
    }


def _from_disk(job: dict[str, Any], file_bytes: int, rounds: int) -> dict[str, Any]:
    """Each method with memory limited to a quarter of the file's size."""
    figures: dict[str, Any] = {"file_bytes": file_bytes, "limit_bytes": file_bytes // 4, "ways": {}}
    # Python and TensorFlow alone need about this much.
    figures["limit_bytes"] = max(figures["limit_bytes"], 450 * 2**20)
    for way in ("ours", *DISK_WAYS):
        with memory_limit(figures["limit_bytes"]) as group:
            options = {"way": way, "group": str(group) if group else None}
            if way != "ours":
                options["secs"] = job["secs"] / 6
            result = _median(job, rounds if way == "ours" else 1, **options)
            if group:
                result["peak_bytes"] = peak_bytes(group)
            figures["is_limited"] = group is not None
        figures["ways"][way] = result
    return figures


def _shares(job: dict[str, Any]) -> dict[str, Any]:
    """What a single worker and each of two workers reads of the file in an epoch."""
    shares = [(0, 1), (0, 2), (1, 2)]
    return {f"{shard} of {n}": _median(job, 1, way="ours", shard=shard, num_shards=n) for shard, n in shares}


def _table(figures: dict[str, Any]) -> str:
    lines = [describe(figures["machine"]), f"{figures['rounds']} round(s), medians", ""]
    memory, disk = figures["memory"], figures["disk"]
    lines.append(f"from memory, {figures['rows']:,} rows, target {TARGET_MEMORY / 1e6:g} M rows/s")
    lines.append(f"{'':52}{'M rows/s':>10}{'min':>8}{'max':>8}{'cores':>7}{'ours is':>10}")
    for batch, result in memory["ours"].items():
        lines.append(_line(f"reeltrain, batch {batch}", result))
    for way, words in NAIVE_WAYS.items():
        lines.append(_line(words, memory[way]))
    seek = figures["seek"]
    lines += [
        f"target ratio to the first tf.data method: {TARGET_RATIO:g}",
        f"time to the first superbatch: {seek['0'] * 1e3:.0f} ms from the first step, "
        f"{seek['0.5'] * 1e3:.0f} ms from the middle of an epoch",
        "",
    ]
    limit, size = disk["limit_bytes"], disk["file_bytes"]
    limited = f"{limit / 2**20:.0f} MiB of memory ({limit / size:.2f} of the file)"
    lines += [
        f"from disk, {size / ROW_BYTES / 1e6:.0f} M rows, {size / 2**20:.0f} MiB, page cache dropped, "
        f"{limited if disk['is_limited'] else 'NOT limited: no cgroup v1 memory controller, or not root'}",
        f"target {TARGET_DISK / 1e6:g} M rows/s",
        f"{'':52}{'M rows/s':>10}{'min':>8}{'max':>8}{'cores':>7}{'MiB read':>10}{'peak MiB':>10}",
    ]
    for way, words in {"ours": f"reeltrain, batch {NAIVE_BATCH}", **DISK_WAYS}.items():
        lines.append(_line(words, disk["ways"][way]))
    ours = disk["ways"]["ours"]
    if "error" not in ours:
        lines.append(f"included in the peak: {ours['rss_before_mib']:.0f} MiB of Python and TensorFlow")
    lines += ["", f"{'worker':12}{'rows':>14}{'MiB requested':>16}{'MiB from disk':>16}"]
    for share, result in figures["shares"].items():
        if "error" in result:
            continue
        lines.append(
            f"{share:12}{result['rows']:14,}{result['asked_bytes'] / 2**20:16,.1f}"
            f"{result['disk_bytes'] / 2**20:16,.1f}"
        )
    return "\n".join(lines)


def _line(words: str, result: dict[str, Any]) -> str:
    if "error" in result:
        return f"{words:52}  {result['error']}"
    speeds = result["all"]
    line = (
        f"{words:52}{result['rows_per_sec'] / 1e6:10.2f}{min(speeds) / 1e6:8.2f}{max(speeds) / 1e6:8.2f}"
        f"{result['cores']:7.2f}"
    )
    if "ratio" in result:
        return f"{line}{result['ratio']:8.0f} x"
    if "peak_bytes" in result:
        return f"{line}{result['disk_bytes'] / 2**20:10,.0f}{result['peak_bytes'] / 2**20:10,.0f}"
    return line


if __name__ == "__main__":
    main()
