"""Waiting time of a user: `reeltrain train` with the article recipe compared with the tutorial's script.

Both run as whole processes, imports and compilation included, and do the same work: MovieLens-100K, the
80,000 training rows of split42, 5 epochs at batch size 32, test RMSE at the end. reeltrain also writes its
prepared dataset, checkpoints and TensorBoard logs. The two alternate, after one warm-up run of each.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.arguments import count, make_parser, require_ml_100k
from harness.machine import describe, machine_facts
from harness.programs import ProcessRun, end_cleanly_on_sigterm, run_article_keras, run_train

TARGET_RATIO = 2.5
EPOCHS, PAIRS = 5, 7
QUICK_EPOCHS, QUICK_PAIRS = 1, 2


@dataclass(frozen=True)
class Pair:
    """One run of each program.

    Attributes:
        seed: the seed of reeltrain; the article sets no seed.
    """

    seed: int
    article: ProcessRun
    reeltrain: ProcessRun

    @property
    def ratio(self) -> float:
        return self.article.wall_secs / self.reeltrain.wall_secs


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--pairs", type=count, help=f"counted pairs  [default: {PAIRS}]")
    args = parser.parse_args()
    data = args.data.resolve()
    require_ml_100k(data, "u.data")
    end_cleanly_on_sigterm()
    epochs = QUICK_EPOCHS if args.quick else EPOCHS
    num_pairs = args.pairs or (QUICK_PAIRS if args.quick else PAIRS)

    facts = machine_facts()
    num_warm_ups = 0 if args.quick else 1  # fills the page cache and writes bytecode
    for _ in range(num_warm_ups):
        _run_pair(data, seed=0, epochs=epochs)
    pairs = []
    for seed in range(num_pairs):
        pairs.append(_run_pair(data, seed=seed, epochs=epochs))
        print(_pair_line(pairs[-1]), file=sys.stderr, flush=True)

    figures = _figures(pairs, epochs=epochs, num_warm_ups=num_warm_ups, facts=facts)
    print(_table(figures))
    if args.json:
        print(json.dumps(figures))


def _run_pair(data: Path, *, seed: int, epochs: int) -> Pair:
    article = run_article_keras(data, epochs=epochs)
    with tempfile.TemporaryDirectory(prefix="reeltrain-benchmark-") as folder:
        reeltrain = run_train(
            data,
            workdir=Path(folder) / "run",
            seed=seed,
            epochs=epochs,
            # All 80,000 rows, like the article; by default 5 % of them would be validation rows.
            settings={"data.validation_fraction": 0},
        )
    return Pair(seed=seed, article=article, reeltrain=reeltrain)


def _figures(pairs: list[Pair], *, epochs: int, num_warm_ups: int, facts: dict[str, Any]) -> dict[str, Any]:
    ratios = [pair.ratio for pair in pairs]
    return {
        "epochs": epochs,
        "num_warm_ups": num_warm_ups,
        "article_keras": _summary([pair.article for pair in pairs]),
        "reeltrain": _summary([pair.reeltrain for pair in pairs]),
        "ratios": ratios,
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "target_ratio": TARGET_RATIO,
        "pairs": [
            {
                "seed": pair.seed,
                "article_keras_secs": pair.article.wall_secs,
                "reeltrain_secs": pair.reeltrain.wall_secs,
                "ratio": pair.ratio,
            }
            for pair in pairs
        ],
        "machine": facts,
    }


def _summary(runs: list[ProcessRun]) -> dict[str, float]:
    secs = [run.wall_secs for run in runs]
    return {
        "secs_median": statistics.median(secs),
        "secs_min": min(secs),
        "secs_max": max(secs),
        "cpu_secs_median": statistics.median(run.cpu_secs for run in runs),
        "test_rmse_mean": statistics.mean(run.result["test_rmse"] for run in runs),
    }


def _table(figures: dict[str, Any]) -> str:
    lines = [
        describe(figures["machine"]),
        f"{figures['epochs']} epoch(s), {len(figures['ratios'])} pairs, {figures['num_warm_ups']} warm-up(s)",
        "",
        f"{'whole process, seconds':24}{'median':>8}{'min':>8}{'max':>8}{'cpu':>8}{'RMSE':>9}",
    ]
    for name in ("article_keras", "reeltrain"):
        row = figures[name]
        lines.append(
            f"{name:24}{row['secs_median']:8.2f}{row['secs_min']:8.2f}{row['secs_max']:8.2f}"
            f"{row['cpu_secs_median']:8.2f}{row['test_rmse_mean']:9.4f}"
        )
    lines += [
        f"{'ratio, pair by pair':24}"
        + "".join(f"{figures[f'ratio_{what}']:8.2f}" for what in ("median", "min", "max")),
        "",
        f"ratios: {'  '.join(f'{ratio:.2f}' for ratio in figures['ratios'])}; target {TARGET_RATIO}",
        "cpu: user and system seconds on all cores, median",
        "RMSE: on the 20,000 test rows, clipped to [1, 5], mean over the pairs",
    ]
    return "\n".join(lines)


def _pair_line(pair: Pair) -> str:
    return (
        f"seed {pair.seed}: article_keras {pair.article.wall_secs:.2f} s, "
        f"reeltrain {pair.reeltrain.wall_secs:.2f} s, ratio {pair.ratio:.2f}"
    )


if __name__ == "__main__":
    main()
