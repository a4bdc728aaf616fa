"""Examples/s of `reeltrain train` at batch 8192: one process, two worker processes, two logical CPUs.

Trains the article recipe on generated ratings, one layout after another, in several rounds. Compilation,
evaluation and saving are not timed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.arguments import PROJECT, make_parser
from harness.machine import describe, machine_facts
from harness.programs import end_cleanly_on_sigterm

from data_pipeline.config import DataConfig
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.generated import generate_ratings
from data_pipeline.sources.in_memory import source_of

BATCH = 8192
# Name -> (workers, replicas per worker, TensorFlow's number of threads or None for its default).
LAYOUTS: dict[str, tuple[int, int, str | None]] = {
    "one process": (1, 1, None),
    "one process, one thread": (1, 1, "1"),
    "two workers": (2, 1, None),
    "two logical CPUs": (1, 2, None),
}
# Lowest acceptable throughput as a fraction of one process's.
TARGETS = {"two workers": 0.8, "two logical CPUs": 0.9}


def main() -> None:
    parser = make_parser(__doc__, rounds=5)
    args = parser.parse_args()
    end_cleanly_on_sigterm()
    facts = machine_facts()
    rounds, rows = (1, 200_000) if args.quick else (args.rounds, 2_000_000)
    speeds: dict[str, list[float]] = {name: [] for name in LAYOUTS}
    with tempfile.TemporaryDirectory(prefix="reeltrain-benchmark-") as folder:
        dataset = Path(folder) / "dataset"
        ratings = generate_ratings(num_users=6000, num_items=4000, num_ratings=rows, seed=0)
        config = DataConfig(test_fraction=0.01, validation_fraction=0.0)
        prepare_dataset(source_of(ratings), config, dataset)
        for number in range(rounds):
            for name in LAYOUTS:
                workdir = Path(folder) / f"{name}-{number}"
                speeds[name].append(_examples_per_sec(name, dataset, workdir))
            print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    figures: dict[str, Any] = {
        "machine": facts,
        "rounds": rounds,
        "rows": rows,
        "examples_per_sec": speeds,
        "medians": medians,
        "ratios": {name: medians[name] / medians["one process"] for name in TARGETS},
    }
    print(_table(figures))
    if args.json:
        print(json.dumps(figures))


def _examples_per_sec(name: str, dataset: Path, workdir: Path) -> float:
    workers, replicas, threads = LAYOUTS[name]
    launch = ["launch", "local", "--workers", str(workers), "--"] if workers > 1 else []
    settings = {"train.global_batch_size": BATCH, "train.epochs": 4, "train.replicas": replicas}
    options = [option for key, value in settings.items() for option in ("--set", f"{key}={value}")]
    train = ["train", str(dataset), "--workdir", str(workdir), *options, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "launch.main", *launch, *train],
        cwd=PROJECT,
        env={**os.environ, **({"TF_NUM_INTRAOP_THREADS": threads} if threads else {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"distributed.py: {name} failed: {done.stderr.strip().splitlines()[-1]}")
    result = json.loads(done.stdout.splitlines()[-1])
    return (result["result"] if launch else result)["examples_per_sec"]


def _table(figures: dict[str, Any]) -> str:
    lines = [
        describe(figures["machine"]),
        f"batch {BATCH}, {figures['rows']:,} generated ratings, 4 epochs, {figures['rounds']} round(s)",
        "",
        f"{'':26}{'examples/s':>12}{'min':>12}{'max':>12}{'vs one process':>16}{'target':>8}",
    ]
    for name, values in figures["examples_per_sec"].items():
        ratio = f"{figures['ratios'][name]:.2f}" if name in TARGETS else ""
        target = f"{TARGETS[name]:g}" if name in TARGETS else ""
        lines.append(
            f"{name:26}{figures['medians'][name]:12,.0f}{min(values):12,.0f}{max(values):12,.0f}{ratio:>16}{target:>8}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
