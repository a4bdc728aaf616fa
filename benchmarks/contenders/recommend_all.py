"""Seconds and memory of writing the lists of all users, with a model of random weights.

The job has `data`, a folder; `model`, or None to make the dataset there from `users`, `items` and `ratings`;
`k` and `num_listed`, the number of users.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from harness.children import serve

from data_pipeline.config import DataConfig
from data_pipeline.dataset.dataset import open_dataset
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.in_memory import Ratings, source_of
from trainer.config import Config, ModelConfig
from trainer.run.build import model_for
from trainer.run.trained_run import Run
from trainer.serving.recommend import recommend


def measure(job: dict[str, Any]) -> dict[str, Any]:
    data = Path(job["data"])
    if job["model"] is None:
        _prepare(job, data)
        return {}
    dataset = open_dataset(data)
    config = Config(model=ModelConfig(name=job["model"]))
    run = Run(data, config, dataset, model_for(config, dataset), 0)
    users = dataset.user_vocabulary.ids[: job["num_listed"]].to_pylist()
    recommend(run, user_ids=users[:10], k=job["k"])  # compiles
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak memory
    before_mib = _memory_mib("VmRSS")
    out = data.with_name("lists.parquet")
    begun, cpu_begun = time.perf_counter(), time.process_time()
    lists = recommend(run, user_ids=users, k=job["k"], out=out)
    return {
        "users": lists.users,
        "secs": time.perf_counter() - begun,
        "cpu_secs": time.process_time() - cpu_begun,
        "before_mib": before_mib,
        "more_mib": _memory_mib("VmHWM") - before_mib,
        "file_mib": out.stat().st_size / 2**20,
    }


def _prepare(job: dict[str, Any], data: Path) -> None:
    rng = np.random.default_rng(0)
    count = job["ratings"]
    # Uniform users, and half of the ratings on an eighth of the items; every user and item has one.
    user = rng.integers(1, job["users"] + 1, count)
    user[: job["users"]] = np.arange(1, job["users"] + 1)
    item = 1 + (rng.random(count) ** 3 * job["items"]).astype(np.int64)
    item[-job["items"] :] = np.arange(1, job["items"] + 1)
    rating = rng.integers(1, 6, count).astype(np.float32)
    table = pa.table({"user_id": user, "item_id": item, "rating": rating})
    ratings = Ratings(table=table, name="generated", fingerprint="0" * 64)
    prepare_dataset(source_of(ratings), DataConfig(), data)


def _memory_mib(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    serve(measure)
