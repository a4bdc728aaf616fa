"""Twenty notebooks' worth of calls in one process; prints what the process holds after each, as JSON lines.

notebook.py FOLDER CALLS
"""

import gc
import json
import os
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

import reeltrain

SETTINGS = {"train.epochs": 1, "train.global_batch_size": 64, "model.embedding_dim": 4}


def held() -> dict[str, int]:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return {
        "rss_kib": int(status.split("VmRSS:")[1].split()[0]),
        "threads": int(status.split("Threads:")[1].split()[0]),
        "python_threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
        "temporary": len(os.listdir(tempfile.gettempdir())),
        "children": len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()),
        "functions": sum(
            type(each).__name__ in ("ConcreteFunction", "Function") for each in gc.get_objects()
        ),
        "models": sum(type(each).__name__ == "Functional" for each in gc.get_objects()),
        "objects": len(gc.get_objects()),
        "warnings": len(seen),
        "filters": len(warnings.filters),
    }


def call(number: int) -> None:
    """Trains, and in turns predicts, recommends and evaluates."""
    folder = Path(sys.argv[1]) / str(number)
    result = reeltrain.train(ratings, settings=SETTINGS, workdir=folder, quiet=True)
    if number % 3 == 0:
        reeltrain.predict(folder, ratings.head(5))
    elif number % 3 == 1:
        reeltrain.recommend(result.run, user_id=3)
    else:
        reeltrain.evaluate(result.run, ks=[5], num_negatives=0)


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    ratings = pd.DataFrame(
        {
            "user_id": rng.integers(0, 60, 1200),
            "item_id": rng.integers(0, 40, 1200),
            "rating": rng.integers(1, 6, 1200),
        }
    )
    seen: list[warnings.WarningMessage] = []
    tf.get_logger().addFilter(lambda record: seen.append(record) or True)
    for number in range(int(sys.argv[2])):
        call(number)
        print(json.dumps(held()), flush=True)
