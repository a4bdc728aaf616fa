"""Time and peak memory of `reeltrain prepare` by number of rows, and compared with pandas.

Planted ratings are generated into a temporary folder first (200 M rows of CSV: 7 GB, and as much again for
staging and the dataset). `prepare` and pandas run in alternation as whole processes, imports included. pandas
only reads and factorizes; `prepare` also removes duplicates, splits, shuffles, writes and computes checksums.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from generate_ratings import write_ratings
from harness.arguments import PROJECT, count, require_free_disk
from harness.machine import describe, machine_facts
from harness.programs import end_cleanly_on_sigterm

SIZES = (2_000_000, 20_000_000, 200_000_000)
QUICK_SIZES = (100_000, 1_000_000)
PAIR_ROWS, QUICK_PAIR_ROWS = 20_000_000, 1_000_000
PAIRS = 3
MEMORY_TARGET_GIB, RATIO_TARGET, MEMORY_RATIO_TARGET = 4.0, 4.0, 1 / 3
DISK_BYTES_PER_ROW = 75  # ratings, staging and dataset


@dataclass(frozen=True)
class Run:
    """Resources of a finished process, without its children."""

    secs: float
    cpu_secs: float
    peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small size that ends within a minute")
    parser.add_argument("--json", action="store_true", help="also print one JSON object, on the last line")
    parser.add_argument("--rows", type=count, nargs="*", help="sizes  [default: 2, 20 and 200 million]")
    parser.add_argument("--pairs", type=count, help=f"runs compared with pandas  [default: {PAIRS}]")
    parser.add_argument("--format", choices=["csv", "parquet"], default="csv", help="format of the ratings")
    args = parser.parse_args()
    end_cleanly_on_sigterm()
    facts = machine_facts()
    sizes = args.rows if args.rows is not None else QUICK_SIZES if args.quick else SIZES
    pair_rows = QUICK_PAIR_ROWS if args.quick else PAIR_ROWS
    num_pairs = args.pairs or (1 if args.quick else PAIRS)
    by_rows, pairs = {}, []
    with tempfile.TemporaryDirectory(prefix="reeltrain-benchmark-") as name:
        folder = Path(name)
        require_free_disk(folder, max([*sizes, pair_rows]) * DISK_BYTES_PER_ROW)
        for num_rows in sizes:
            source = folder / f"ratings.{args.format}"
            write_ratings(num_rows, source)
            by_rows[num_rows] = _prepare(source, folder / "prepared")
            _log(f"{num_rows:,} rows: {by_rows[num_rows]}")
            source.unlink()
        source = folder / "ratings.csv"
        write_ratings(pair_rows, source)
        for _ in range(num_pairs):
            pairs.append((_pandas(source), _prepare(source, folder / "prepared")))
            _log(f"pandas {pairs[-1][0]}, reeltrain {pairs[-1][1]}")
    figures = _figures(by_rows, pairs, pair_rows, facts)
    print(_table(figures, args.format))
    if args.json:
        print(json.dumps(figures))


def _prepare(source: Path, out: Path) -> Run:
    run = _run([sys.executable, "-m", "launch.main", "prepare", str(source), "--out", str(out), "--json"])
    shutil.rmtree(out)
    return run


def _pandas(source: Path) -> Run:
    return _run([sys.executable, str(PROJECT / "benchmarks/contenders/pandas_factorize.py"), str(source)])


def _run(command: list[str]) -> Run:
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    secs = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: ended with status {process.returncode}")
    return Run(secs, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _figures(
    by_rows: dict[int, Run], pairs: list[tuple[Run, Run]], pair_rows: int, facts: dict[str, Any]
) -> dict[str, Any]:
    return {
        "by_rows": {str(num_rows): asdict(run) for num_rows, run in by_rows.items()},
        "pair_rows": pair_rows,
        "pandas": [asdict(run) for run, _ in pairs],
        "reeltrain": [asdict(run) for _, run in pairs],
        "ratio_median": statistics.median(pandas.secs / ours.secs for pandas, ours in pairs),
        "memory_ratio_median": statistics.median(ours.peak_mib / pandas.peak_mib for pandas, ours in pairs),
        "machine": facts,
    }


def _table(figures: dict[str, Any], file_format: str) -> str:
    lines = [describe(figures["machine"]), ""]
    head = f"{'seconds':>9}{'cpu':>9}{'peak MiB':>10}"
    lines.append(f"{f'prepare, rows of {file_format}':24}{head}{'rows/s':>12}")
    for num_rows, run in figures["by_rows"].items():
        lines.append(f"{int(num_rows):>24,}{_shown(run)}{int(num_rows) / run['secs']:>12,.0f}")
    lines += [f"target: at most {MEMORY_TARGET_GIB * 1024:,.0f} MiB, equal rows/s for all sizes", ""]
    lines.append(f"{format(figures['pair_rows'], ',') + ' rows of CSV':24}{head}")
    for name in ("pandas", "reeltrain"):
        lines += [f"{name:24}{_shown(run)}" for run in figures[name]]
    lines.append(
        f"median over the pairs: {figures['ratio_median']:.2f} x the speed (target: {RATIO_TARGET:.0f}), "
        f"{figures['memory_ratio_median']:.2f} x the memory (target: {MEMORY_RATIO_TARGET:.2f})"
    )
    return "\n".join(lines)


def _shown(run: dict[str, float]) -> str:
    return f"{run['secs']:9.1f}{run['cpu_secs']:9.1f}{run['peak_mib']:10,.0f}"


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
