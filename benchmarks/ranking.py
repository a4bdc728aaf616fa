"""Time and memory of ranking all unseen items for all users, at the sizes of MovieLens-1M and -20M.

Scores are inner products of 64 random floats. Ratings are random, a fifth of them are test rows. All metrics
are included. The other contender is a loop over users that sorts all scores; it ranks some of the users, and
its time is scaled up to all. NDCG is that of these users for both. Each case runs in a separate process, one
after another, in several rounds. `sampled` is the time of the sampled protocol alone, `+ MiB` the peak memory
of ranking beyond the data.
"""

from __future__ import annotations

import json
import statistics
import sys
from typing import Any

from harness.arguments import make_parser
from harness.children import run_contender
from harness.machine import describe, machine_facts
from harness.programs import end_cleanly_on_sigterm

SIZES = {
    "MovieLens-1M": {"users": 6_040, "items": 3_706, "ratings": 800_000, "test_ratings": 200_000},
    "MovieLens-20M": {"users": 138_493, "items": 26_744, "ratings": 16_000_000, "test_ratings": 4_000_000},
}
LOOP_USERS = 2_000
TARGET_SECS = 2.0  # MovieLens-1M


def main() -> None:
    parser = make_parser(__doc__, rounds=3)
    args = parser.parse_args()
    end_cleanly_on_sigterm()
    facts = machine_facts()
    rounds = 1 if args.quick else args.rounds
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number in range(rounds):
        for size, job in SIZES.items():
            if args.quick and size != "MovieLens-1M":
                continue
            for way in ("ours", "loop"):
                num_ranked = LOOP_USERS if way == "loop" else job["users"]
                result = run_contender("ranking", {**job, "way": way, "num_ranked": num_ranked})
                if "error" in result:
                    sys.exit(f"ranking.py: {size}, {way} failed: {result['error']}")
                results.setdefault((size, way), []).append(result)
                print(f"round {number + 1}: {size}, {way}: done", file=sys.stderr, flush=True)
    figures = {
        "machine": facts,
        "rounds": rounds,
        "cases": [{"size": size, "way": way, **_medians(runs)} for (size, way), runs in results.items()],
    }
    print(_table(figures))
    if args.json:
        print(json.dumps(figures))


def _medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    secs = [run["secs"] for run in runs]
    return {
        **medians,
        "min_secs": min(secs),
        "max_secs": max(secs),
        "users_per_sec": medians["users"] / medians["secs"],
        "secs_of_all": medians["secs"] * medians["users_of_all"] / medians["users"],
    }


def _table(figures: dict[str, Any]) -> str:
    lines = [
        describe(figures["machine"]),
        f"{figures['rounds']} round(s), medians; loop: measured for {LOOP_USERS:,} users, scaled up to all",
        "",
        f"{'':15}{'way':6}{'users':>9}{'s for all':>11}{'min':>8}{'metrics':>9}{'sampled':>9}{'users/s':>10}"
        f"{'data MiB':>10}{'+ MiB':>8}{'NDCG@10':>10}",
    ]
    for case in figures["cases"]:
        optional = [
            f"{case[key]:9.2f}" if key in case else f"{'':9}" for key in ("metrics_secs", "sampled_secs")
        ]
        least = case["min_secs"] * case["users_of_all"] / case["users"]
        lines.append(
            f"{case['size']:15}{case['way']:6}{case['users']:9,.0f}{case['secs_of_all']:11.2f}{least:8.2f}"
            f"{''.join(optional)}{case['users_per_sec']:10,.0f}{case['data_mib']:10,.0f}{case['ranking_mib']:8,.0f}"
            f"{case['ndcg@10']:10.5f}"
        )
    secs = {(case["size"], case["way"]): case["secs_of_all"] for case in figures["cases"]}
    for size in dict.fromkeys(case["size"] for case in figures["cases"]):
        lines.append(f"{size}: {secs[size, 'loop'] / secs[size, 'ours']:.1f} x the speed of the loop")
    lines.append(f"MovieLens-1M: {secs['MovieLens-1M', 'ours']:.2f} s (target: at most {TARGET_SECS:g})")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
