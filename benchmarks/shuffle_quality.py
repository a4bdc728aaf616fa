"""Whether the shuffling of large data trains as well as a permutation of all rows: validation curves.

Large data is stored in random order once, and read in chunks of neighbouring rows
(data_pipeline/batches/windows.py). Both parts are needed: the table also shows chunks of rows that are stored
by user or by time. Permutations with other seeds and the same initial weights show how large noise is.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness.arguments import count, make_parser, require_ml_100k
from harness.children import run_contender
from harness.machine import describe, machine_facts
from harness.programs import end_cleanly_on_sigterm
from harness.shuffle_task import write_generated, write_ml_100k

from data_pipeline.batches.windows import Sizes

ALL_ROWS = {"permuted_rows": 2**40}
PERMUTATION, NOISE = "permutation of all rows", "the same, other seeds"
OTHER_SEEDS = 1000
# For generated data the default sizes are used. ML-100K is so small that the defaults would permute all rows.
SMALL = {"permuted_rows": 0, "chunk_rows": 256, "window_rows": 1024}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=count, default=5, help="seeds 0 to N - 1  [default: 5]")
    args = parser.parse_args()
    require_ml_100k(args.data, "u.data")
    end_cleanly_on_sigterm()
    seeds = list(range(2 if args.quick else args.seeds))

    figures: dict[str, Any] = {"machine": machine_facts(), "seeds": len(seeds), "data": {}}
    with tempfile.TemporaryDirectory(prefix="reeltrain-benchmark-") as folder:
        path = Path(folder) / "ml-100k.npz"
        write_ml_100k(path, args.data)
        job: dict[str, Any] = {"path": str(path), "batch": 32, "epochs": 5, "points": 4, "seeds": seeds}
        if args.quick:
            job |= {"batch": 256, "epochs": 1}
        figures["data"]["MovieLens-100K"] = _study(job, SMALL)
        if not args.quick:
            path = Path(folder) / "generated.npz"
            write_generated(path, num_rows=1_500_000, num_users=12_000, num_items=4_000)
            job |= {"path": str(path), "batch": 1024, "epochs": 3}
            figures["data"]["generated"] = _study(job, dataclasses.asdict(Sizes()))
    print(_table(figures))
    if args.json:
        print(json.dumps(figures))


def _study(job: dict[str, Any], sizes: dict[str, int]) -> dict[str, Any]:
    """Order -> its curves, their mean and sd, and their distance from those of the permutations."""
    orders = {
        PERMUTATION: {"stored": "random", "sizes": ALL_ROWS},
        NOISE: {"stored": "random", "sizes": ALL_ROWS, "shift": OTHER_SEEDS},
        "stored at random, chunks": {"stored": "random", "sizes": sizes},
        "stored by user, chunks": {"stored": "user", "sizes": sizes},
        "stored by time, chunks": {"stored": "time", "sizes": sizes},
    }
    found: dict[str, Any] = {}
    for name, order in orders.items():
        result = run_contender("shuffled_training", {"shift": 0, **job, **order})
        if "error" in result:
            sys.exit(f"shuffle_quality.py: {name}: {result['error']}")
        found[name] = {"curves": result["curves"]}
        print(f"{name}: done", file=sys.stderr, flush=True)
    permuted = np.array(found[PERMUTATION]["curves"])
    for entry in found.values():
        curves = np.array(entry["curves"])
        difference = (curves - permuted).mean(axis=0)
        entry["mean"] = curves.mean(axis=0).tolist()
        entry["sd"] = curves.std(axis=0, ddof=1).tolist()
        entry["mean_apart"] = float(difference.mean())
        entry["max_apart"] = float(np.abs(difference).max())
        entry["last_apart"] = float(difference[-1])
    return {**job, "rows": result["rows"], "sizes": sizes, "orders": found}


def _table(figures: dict[str, Any]) -> str:
    lines = [
        describe(figures["machine"]),
        f"{figures['seeds']} seeds; diff: RMSE minus that of the permutations",
    ]
    for data, study in figures["data"].items():
        epochs, points = study["epochs"], study["points"]
        lines += [
            "",
            f"{data}, {study['rows']:,} rows, batch {study['batch']}, chunks of "
            f"{study['sizes']['chunk_rows']} rows in windows of {study['sizes']['window_rows']}; "
            "validation RMSE after each epoch",
            f"{'':28}"
            + "".join(f"{epoch + 1:>9}" for epoch in range(epochs))
            + f"{'sd at end':>11}{'diff: mean':>13}{'largest':>9}{'at end':>9}",
        ]
        for name, entry in study["orders"].items():
            ends = entry["mean"][points - 1 :: points]
            lines.append(
                f"{name:28}"
                + "".join(f"{rmse:9.4f}" for rmse in ends)
                + f"{entry['sd'][-1]:11.4f}{entry['mean_apart']:+13.4f}{entry['max_apart']:9.4f}"
                + f"{entry['last_apart']:+9.4f}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
