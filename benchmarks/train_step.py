"""Samples/s of training the article's model: Keras `fit`, `fit` at its best, a PyTorch loop, ours.

Same rows, order, initial weights and maths; each a process of its own, in turn, in several rounds.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from harness.arguments import count, make_parser
from harness.article_task import FLOP_PER_SAMPLE, write_task
from harness.children import run_contender
from harness.machine import describe, machine_facts
from harness.programs import end_cleanly_on_sigterm

MATMUL = {"matmul_size": 2048, "repetitions": 5, "threads": 0}
STEPS_PER_EXECUTION = (16, 64, 256)
# At batch 32; at 8192 it is 3.5 for each.
TARGETS = {"fit": 30, "best_fit": 7, "torch": 10}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--batches", type=count, nargs="+", default=[32, 1024, 8192])
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--torch-python", help="a Python that has PyTorch  [default: this one]")
    args = parser.parse_args()
    end_cleanly_on_sigterm()
    python = {"python": args.torch_python} if args.torch_python else {}
    facts, repetitions = machine_facts(), 1 if args.quick else 2
    figures: dict[str, Any] = {"machine": facts, "targets": TARGETS, "batches": {}}
    rates = {**run_contender("torch_loop", MATMUL, **python), **run_contender("rates", MATMUL)}
    figures["rates"] = {name: rates[name] for name in ("xla", "numpy", "torch", "memory") if name in rates}
    peak = max(rate for name, rate in figures["rates"].items() if name != "memory")
    contenders = [("ours", "engine_steps", {}), ("fit", "keras_fit", {})]
    contenders += [("best_fit", "keras_fit", {"steps_per_execution": k}) for k in STEPS_PER_EXECUTION]
    contenders += [("torch", "torch_loop", {"threads": n}) for n in (1, 0)]
    print(describe(facts))
    with tempfile.TemporaryDirectory(prefix="reeltrain-benchmark-") as folder:
        for batch in args.batches:
            task = write_task(Path(folder), batch=batch, quick=args.quick)
            runs: dict[tuple[str, str], list[float]] = {}
            losses: dict[str, list[float]] = {}
            row: dict[str, Any] = {"errors": {}}
            for number in range(1 if args.quick else args.rounds):
                for name, program, options in contenders:
                    job = {**task, **options, "repetitions": repetitions, "losses": number == 0}
                    result = run_contender(program, job, **(python if name == "torch" else {}))
                    if "error" in result:
                        row["errors"][name] = result["error"]
                        continue
                    runs.setdefault((name, str(options)), []).extend(result["samples_per_sec"])
                    losses.setdefault(name, result.get("losses", []))
                    row.setdefault("first_step_secs", result.get("first_step_secs"))
            for (name, options), speeds in runs.items():
                speed = statistics.median(speeds)
                if speed > row.get(name, {"samples_per_sec": 0})["samples_per_sec"]:
                    apart = [abs(a - b) / b for a, b in zip(losses[name], losses["ours"], strict=True)]
                    row[name] = {
                        "samples_per_sec": speed,
                        "options": options,
                        "max_loss_difference": max(apart),
                    }
            figures["batches"][batch] = row
            for name in ("ours", *TARGETS):
                if name in row:
                    row[name]["ratio"] = row["ours"]["samples_per_sec"] / row[name]["samples_per_sec"]
                    print(batch, name, row[name], flush=True)
            row["share_of_peak"] = row["ours"]["samples_per_sec"] * FLOP_PER_SAMPLE / peak
            print(batch, "share of peak", row["share_of_peak"], "errors", row["errors"], flush=True)
    if args.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
