"""Test metrics of each recipe on MovieLens-100K over several seeds, compared with baselines.

The settings of a recipe, including its epochs, were chosen on validation rows beforehand. Here each recipe is
trained on all training rows of a split with the training seeds 0 to N - 1. The test rows are read once per
run, by `reeltrain evaluate --seeds N`, whose protocol is printed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.arguments import count, make_parser, require_ml_100k
from harness.machine import describe, machine_facts
from harness.programs import end_cleanly_on_sigterm, run_reeltrain

SEEDS, QUICK_SEEDS = 5, 2
RATINGS = ("rmse", "mae")
RANKINGS = ("ndcg@10", "recall@10", "precision@10", "map@10", "mrr@10", "coverage@10", "novelty@10")


@dataclass(frozen=True)
class Split:
    """A split and the recipes that are trained on it.

    Attributes:
        settings: `data` settings that make the split.
        metrics: the metrics to show.
        bars: recipe -> (metric, target value).
    """

    name: str
    settings: tuple[str, ...]
    recipes: tuple[str, ...]
    metrics: tuple[str, ...]
    bars: dict[str, tuple[str, float]]


SPLITS = (
    Split(
        "split42",
        (),
        ("article", "mf", "wide-deep"),
        RATINGS,
        {"article": ("rmse", 0.9443), "mf": ("rmse", 0.911)},
    ),
    Split("u1", ("data.split=u1",), ("article", "mf", "wide-deep"), RATINGS, {"mf": ("rmse", 0.924)}),
    Split(
        "75/25 per user",
        ("data.split=per-user", "data.test_fraction=0.25"),
        ("neumf", "mf-ranking", "two-tower", "mf"),
        RANKINGS,
        {"neumf": ("ndcg@10", 0.44)},
    ),
)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=count, help=f"seeds 0 to N - 1  [default: {SEEDS}]")
    args = parser.parse_args()
    data = args.data.resolve()
    require_ml_100k(data, "u.data", "u.item", "u.user", "u1.base", "u1.test")
    end_cleanly_on_sigterm()
    seeds = args.seeds or (QUICK_SEEDS if args.quick else SEEDS)
    facts = machine_facts()
    splits = [_quick(split) for split in SPLITS] if args.quick else list(SPLITS)
    results = []
    with tempfile.TemporaryDirectory(prefix="reeltrain-benchmark-") as folder:
        for number, split in enumerate(splits):
            for recipe in split.recipes:
                workdir = Path(folder) / f"{number}-{recipe}"
                print(f"{split.name}: {recipe}, {seeds} seeds", file=sys.stderr, flush=True)
                results.append(
                    {"split": split.name, "recipe": recipe, **_run(data, split, recipe, seeds, workdir)}
                )
    figures = {"results": results, "seeds": seeds, "machine": facts}
    print(_table(figures, splits))
    if args.json:
        print(json.dumps(figures))


def _quick(split: Split) -> Split:
    return Split(split.name, split.settings, split.recipes[:1], split.metrics, split.bars)


def _run(data: Path, split: Split, recipe: str, seeds: int, workdir: Path) -> dict[str, Any]:
    settings = [
        option for each in (*split.settings, "data.validation_fraction=0") for option in ("--set", each)
    ]
    run_reeltrain("train", str(data), "--recipe", recipe, "--workdir", str(workdir), *settings)
    ranking = [] if split.metrics is RANKINGS else ["--no-ranking"]
    return run_reeltrain("evaluate", str(workdir), "--seeds", str(seeds), "--no-mf", *ranking).result


def _table(figures: dict[str, Any], splits: list[Split]) -> str:
    lines = [
        describe(figures["machine"]),
        f"training seeds 0 to {figures['seeds'] - 1}, same split: mean +- sd (n - 1)",
    ]
    for split in splits:
        results = [each for each in figures["results"] if each["split"] == split.name]
        metrics = [metric for metric in split.metrics if any(metric in each["test"] for each in results)]
        lines += ["", split.name, f"{'':16}" + "".join(f"{metric:>19}" for metric in metrics)]
        for result in results:
            bar = split.bars.get(result["recipe"])
            target = f"   target: {bar[0]} {bar[1]:g}" if bar else ""
            cells = [_cell(result["test"], result["test_sd"], metric) for metric in metrics]
            lines.append(f"{result['recipe']:16}{''.join(cells)}{target}")
        for name, values in results[0]["baselines"].items():
            if any(metric in values for metric in metrics):
                lines.append(f"{name:16}{''.join(_cell(values, {}, metric) for metric in metrics)}")
        lines += [f"  {line}" for line in results[0]["protocol"].splitlines()]
    return "\n".join(lines)


def _cell(mean: dict[str, float], sd: dict[str, float], metric: str) -> str:
    if metric not in mean:
        return f"{'-':>19}"
    spread = f" +- {sd[metric]:.4f}" if sd.get(metric) else ""
    return f"{mean[metric]:.4f}{spread}".rjust(19)


if __name__ == "__main__":
    main()
