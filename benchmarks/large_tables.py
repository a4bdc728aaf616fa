"""Milliseconds per step with two embedding tables of 10 k to 4 M rows, at batch 8192 and dim 32.

Measures reeltrain with `model.tables=auto`, at 10 k rows also `dense` and `sparse`, and Keras's Embedding and
Adam with and without XLA. Each case runs in a separate process, one after another, in several rounds.
"""

from __future__ import annotations

import json
import statistics
import sys
from typing import Any

from harness.arguments import make_parser
from harness.children import free_memory_mib, run_contender
from harness.machine import describe, machine_facts
from harness.programs import end_cleanly_on_sigterm

DIM = 32
TARGET_GROWTH, TARGET_RATIO = 1.5, 10.0
CASES = [
    *((rows, "auto") for rows in (10_000, 100_000, 1_000_000, 4_000_000)),
    (10_000, "dense"),
    (10_000, "sparse"),
    *((rows, way) for rows in (10_000, 1_000_000) for way in ("keras", "keras, XLA")),
]
QUICK_CASES = [(10_000, "auto"), (100_000, "auto"), (100_000, "keras")]


def main() -> None:
    parser = make_parser(__doc__, rounds=3)
    args = parser.parse_args()
    end_cleanly_on_sigterm()
    facts = machine_facts()
    rounds, cases = (1, QUICK_CASES) if args.quick else (args.rounds, CASES)
    millis: dict[tuple[int, str], list[float]] = {}
    memory: dict[tuple[int, str], float] = {}
    skipped: dict[tuple[int, str], str] = {}
    for number in range(rounds):
        for case in cases:
            rows, way = case
            # Two tables with weights and Adam's two moments, doubled because Keras copies each.
            needed = 2 * rows * DIM * 4 * 6 / 2**20 + 1000
            if free_memory_mib() < needed:
                skipped[case] = f"needs {needed:,.0f} MiB of memory"
                continue
            job = {"rows": rows, "way": way, "repetitions": 3 if args.quick else 7}
            result = run_contender("table_steps", job)
            if "error" in result:
                sys.exit(f"large_tables.py: {way} with {rows:,} rows failed: {result['error']}")
            millis.setdefault(case, []).extend(result["millis"])
            memory[case] = result["peak_rss_mib"]
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    medians = {case: statistics.median(values) for case, values in millis.items()}
    figures: dict[str, Any] = {
        "machine": facts,
        "rounds": rounds,
        "cases": [
            {"rows": rows, "way": way, "ms": ms, "min": min(millis[rows, way]), "mib": memory[rows, way]}
            for (rows, way), ms in medians.items()
        ],
        "skipped": {f"{way} {rows}": why for (rows, way), why in skipped.items()},
        **_ratios(medians),
    }
    print(_table(figures))
    if args.json:
        print(json.dumps(figures))


def _ratios(medians: dict[tuple[int, str], float]) -> dict[str, float]:
    ratios = {}
    if (4_000_000, "auto") in medians:
        ratios["growth_10k_to_4m"] = medians[4_000_000, "auto"] / medians[10_000, "auto"]
    keras = [ms for (rows, way), ms in medians.items() if rows == 1_000_000 and way.startswith("keras")]
    if keras:
        ratios["keras_over_ours_at_1m"] = min(keras) / medians[1_000_000, "auto"]
    return ratios


def _table(figures: dict[str, Any]) -> str:
    lines = [
        describe(figures["machine"]),
        f"{figures['rounds']} round(s), medians",
        "",
        f"{'rows of each table':>18}  {'way':14}{'ms/step':>10}{'min':>8}{'peak MiB':>10}",
    ]
    lines += [
        f"{c['rows']:>18,}  {c['way']:14}{c['ms']:10.1f}{c['min']:8.1f}{c['mib']:10,.0f}"
        for c in figures["cases"]
    ]
    lines += [f"{case}: skipped, {why}" for case, why in figures["skipped"].items()]
    if "growth_10k_to_4m" in figures:
        lines.append(
            f"4 M rows vs 10 k rows: {figures['growth_10k_to_4m']:.2f} x (target: at most {TARGET_GROWTH:g})"
        )
    if "keras_over_ours_at_1m" in figures:
        lines.append(
            f"Keras vs reeltrain at 1 M rows: {figures['keras_over_ours_at_1m']:.1f} x "
            f"(target: {TARGET_RATIO:g})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
