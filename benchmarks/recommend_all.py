"""Time and memory of `recommend --users all` at the size of MovieLens-20M.

Ratings are random, models have random weights. `two-tower` lists all users; `mlp`, the article's, scores
every pair with its layers: it lists some of the users, and its time is scaled up to all. `+ MiB` is the peak
memory of making and writing the lists beyond the opened run; pages of the memory-mapped ratings count.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.arguments import make_parser
from harness.children import run_contender
from harness.machine import describe, machine_facts
from harness.programs import end_cleanly_on_sigterm

SIZE = {"users": 138_493, "items": 26_744, "ratings": 20_000_000}
QUICK_SIZE = {"users": 6_040, "items": 3_706, "ratings": 1_000_000}
MLP_USERS, K = 1_000, 10


def main() -> None:
    args = make_parser(__doc__, rounds=1).parse_args()
    end_cleanly_on_sigterm()
    size = QUICK_SIZE if args.quick else SIZE
    facts = machine_facts()
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        job = {**size, "data": str(Path(folder) / "data"), "k": K}
        _measured({**job, "model": None})
        for model, num_listed in (("two-tower", size["users"]), ("mlp", MLP_USERS)):
            for _ in range(args.rounds):
                cases.append({"model": model, **_measured({**job, "model": model, "num_listed": num_listed})})
                print(f"{model}: done", file=sys.stderr, flush=True)
    figures = {"machine": facts, "size": size, "cases": cases}
    print(_table(figures))
    if args.json:
        print(json.dumps(figures))


def _measured(job: dict[str, Any]) -> dict[str, Any]:
    result = run_contender("recommend_all", job)
    if "error" in result:
        sys.exit(f"recommend_all.py: {job['model'] or 'the dataset'} failed: {result['error']}")
    return result


def _table(figures: dict[str, Any]) -> str:
    size = figures["size"]
    lines = [
        describe(figures["machine"]),
        f"{size['users']:,} users, {size['items']:,} items, {size['ratings']:,} ratings, lists of {K}",
        "",
        f"{'model':12}{'users':>9}{'s':>9}{'CPU s':>9}{'users/s':>10}{'s for all':>11}"
        f"{'before MiB':>12}{'+ MiB':>8}{'file MiB':>10}",
    ]
    for case in figures["cases"]:
        rate = case["users"] / case["secs"]
        lines.append(
            f"{case['model']:12}{case['users']:9,}{case['secs']:9.1f}{case['cpu_secs']:9.1f}{rate:10,.0f}"
            f"{size['users'] / rate:11,.0f}{case['before_mib']:12,.0f}{case['more_mib']:8,.0f}"
            f"{case['file_mib']:10.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
