"""Samples/s of training the article's model: reeltrain, Keras `fit`, tuned `fit`, a PyTorch loop.

All contenders use the same rows, order, initial weights and formulas. Each runs in a separate process, one
after another, in several rounds; its best options count.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.arguments import PROJECT, count, make_parser
from harness.article_task import FLOP_PER_SAMPLE, bytes_of_step, write_task
from harness.children import run_contender
from harness.machine import describe, machine_facts
from harness.programs import end_cleanly_on_sigterm

MATMUL = {"matmul_size": 2048, "repetitions": 9, "threads": 0}
# Contender -> batch size -> target of reeltrain's speed divided by the contender's.
TARGETS = {
    "fit": {32: 30.0, 8192: 3.5},
    "best_fit": {32: 7.0, 8192: 3.5},
    "torch": {32: 10.0, 8192: 3.5},
}
TARGET_SHARE_OF_PEAK, TARGET_FIRST_STEP_SECS, TARGET_HELP_SECS = 0.7, 3.0, 0.3


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--batches", type=count, nargs="+")
    parser.add_argument("--rounds", type=count, default=2, help="of three repetitions each  [default: 2]")
    parser.add_argument("--torch-python", help="a Python that has PyTorch  [default: this one]")
    parser.add_argument("--without", nargs="*", default=[], choices=list(TARGETS), help="leave out")
    args = parser.parse_args()
    end_cleanly_on_sigterm()
    batches = args.batches or ([1024] if args.quick else [32, 1024, 8192])
    rounds, repetitions = (1, 1) if args.quick else (args.rounds, 3)
    torch = {"python": args.torch_python} if args.torch_python else {}

    facts = machine_facts()
    figures: dict[str, Any] = {"machine": facts, "rounds": rounds, "repetitions": repetitions, "batches": {}}
    figures["rates"] = rates = _rates(torch, with_torch="torch" not in args.without)
    peak = max(rate for name, rate in rates.items() if name in ("xla", "numpy", "torch"))
    figures["help_secs"] = _help_secs()
    with tempfile.TemporaryDirectory(prefix="reeltrain-benchmark-") as folder:
        for batch in batches:
            task = write_task(Path(folder), batch=batch, quick=args.quick)
            row = _measure(task, args.without, torch, rounds=rounds, repetitions=repetitions)
            row["share_of_peak"] = row["ours"]["samples_per_sec"] * FLOP_PER_SAMPLE / peak
            if rates["device"] == "GPU":
                # Matrix products and memory bandwidth bound a step. A CPU's caches would hold the weights.
                floor = max(batch * FLOP_PER_SAMPLE / peak, bytes_of_step(batch) / rates["memory"])
                row["floor_samples_per_sec"] = batch / floor
            figures["batches"][batch] = row
            print(f"batch {batch} done", file=sys.stderr, flush=True)
    print(_table(figures))
    if args.json:
        print(json.dumps(figures))


def _contenders(batch: int, without: list[str], *, quick: bool) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, program, options) of each contender, to be run once per round."""
    steps = (64, 256) if batch < 1024 else (8, 32)
    contenders: list[tuple[str, str, dict[str, Any]]] = [
        ("ours", "engine_steps", {}),
        ("fit", "keras_fit", {}),
    ]
    contenders += [("best_fit", "keras_fit", {"steps_per_execution": k}) for k in steps[: 1 if quick else 2]]
    contenders += [("torch", "torch_loop", {"threads": n}) for n in ((1,) if quick else (1, 0))]
    return [contender for contender in contenders if contender[0] not in without]


def _measure(
    task: dict[str, Any], without: list[str], torch: dict[str, str], *, rounds: int, repetitions: int
) -> dict[str, Any]:
    """Contender -> median samples/s, options, ratio and largest loss difference, for one batch size."""
    speeds: dict[tuple[str, str], list[float]] = {}
    losses: dict[str, list[float]] = {}
    row: dict[str, Any] = {"errors": {}}
    for number in range(rounds):
        for name, program, options in _contenders(task["batch"], without, quick=rounds == 1):
            job = {**task, **options, "repetitions": repetitions, "losses": number == 0}
            result = run_contender(program, job, **(torch if name == "torch" else {}))
            if "error" in result:
                row["errors"][name] = result["error"]
                if name == "ours":
                    sys.exit(f"train_step.py: ours failed: {result['error']}")
                continue
            speeds.setdefault((name, json.dumps(options)), []).extend(result["samples_per_sec"])
            losses.setdefault(name, result.get("losses", []))
            if name == "ours":
                row.setdefault("first_step_secs", []).append(result["first_step_secs"])
    for (name, options), measured in speeds.items():
        speed = statistics.median(measured)
        if speed > row.get(name, {"samples_per_sec": 0})["samples_per_sec"]:
            pairs = zip(losses[name], losses["ours"], strict=True)
            row[name] = {
                "samples_per_sec": speed,
                "min": min(measured),
                "max": max(measured),
                "count": len(measured),
                "options": options,
                "max_loss_difference": max(abs(a - b) / b for a, b in pairs),
            }
    for name in TARGETS:
        if name in row:
            row[name]["ratio"] = row["ours"]["samples_per_sec"] / row[name]["samples_per_sec"]
            row[name]["target_ratio"] = TARGETS[name].get(task["batch"])
    return row


def _rates(torch: dict[str, str], *, with_torch: bool) -> dict[str, Any]:
    rates = run_contender("rates", MATMUL)
    if "error" in rates:
        sys.exit(f"train_step.py: the machine's rates could not be measured: {rates['error']}")
    if with_torch:
        rates |= {k: v for k, v in run_contender("torch_loop", MATMUL, **torch).items() if k == "torch"}
    return rates


def _help_secs() -> float:
    """Median wall time of `reeltrain --help`."""
    secs = []
    for _ in range(7):
        begin = time.perf_counter()
        command = [sys.executable, "-m", "launch.main", "--help"]
        subprocess.run(command, cwd=PROJECT, stdout=subprocess.DEVNULL, check=True)
        secs.append(time.perf_counter() - begin)
    return statistics.median(secs)


def _table(figures: dict[str, Any]) -> str:
    rates = figures["rates"]
    peaks = ", ".join(f"{n} {rates[n] / 1e9:.0f}" for n in ("xla", "numpy", "torch") if n in rates)
    lines = [
        describe(figures["machine"]),
        f"{rates['device']}; float32 matrix product, GFLOP/s: {peaks}; "
        f"memory {rates['memory'] / 1e9:.1f} GB/s",
        f"{figures['rounds']} round(s) of {figures['repetitions']} repetition(s), medians",
        "",
        f"{'batch':>6}  {'':10}{'samples/s':>12}{'min':>12}{'max':>12}"
        f"{'ours is':>9}{'target':>8}{'loss diff':>12}  options",
    ]
    for batch, row in figures["batches"].items():
        for name in ("ours", *TARGETS):
            if name not in row:
                if name in row["errors"]:
                    lines.append(f"{batch:>6}  {name:10}{row['errors'][name]:>12}")
                continue
            entry = row[name]
            ratio = f"{entry['ratio']:.1f} x" if "ratio" in entry else ""
            target = f"{entry['target_ratio']:g} x" if entry.get("target_ratio") else ""
            difference = f"{entry['max_loss_difference']:.0e}" if name != "ours" else ""
            lines.append(
                f"{batch:>6}  {name:10}{entry['samples_per_sec']:12,.0f}"
                f"{entry['min']:12,.0f}{entry['max']:12,.0f}"
                f"{ratio:>9}{target:>8}{difference:>12}  {entry['options']}"
            )
        limit = row.get("floor_samples_per_sec")
        floor = f"; at most {limit:,.0f} samples/s are possible" if limit else ""
        lines.append(
            f"{'':8}ours reaches {row['share_of_peak']:.0%} of the matrix product's peak "
            f"(target {TARGET_SHARE_OF_PEAK:.0%} at the best batch){floor}; first step after "
            f"{statistics.median(row['first_step_secs']):.1f} s (target {TARGET_FIRST_STEP_SECS:g})"
        )
    lines += [
        "",
        f"reeltrain --help: {figures['help_secs']:.2f} s (target: {TARGET_HELP_SECS:g})",
        "loss diff: largest relative difference of the first 20 losses from ours. Keras 3's Adam does not",
        "sum gradients of ids that repeat within a batch, so the losses of `fit` differ if there are many",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
