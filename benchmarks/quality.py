"""Test errors of the article recipe on MovieLens-100K, compared with the tutorial's script and baselines.

Each row is a mean over runs with the same, fixed number of epochs. Nothing is chosen on the test rows, which
are read once, after training. `split42` is the random 80/20 split of scikit-learn's
`train_test_split(random_state=42)`, `u1` the predefined pair u1.base/u1.test.

The Keras script has three rows, because seeding it stops `fit` from reshuffling (see article_keras.py). One
epoch does not show the difference, so `--quick` runs only the first.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.arguments import count, make_parser, require_ml_100k
from harness.machine import describe, machine_facts
from harness.programs import end_cleanly_on_sigterm, run_article_keras, run_evaluate, run_train

# Given figures of the article's model on split42, three seeds; how its rows were shuffled is unknown.
ANCHOR_RMSE = 0.9443
ANCHOR_MAE = 0.745
EPOCHS, SEEDS = 5, 3
QUICK_EPOCHS, QUICK_SEEDS = 1, 1

OURS = "reeltrain, all training rows"  # the baselines of these runs are reported, too

PROTOCOL = """\
protocol: epochs fixed beforehand; test rows read once, after training, nothing chosen on them. RMSE and MAE:
predictions clipped to [1, 5]; raw: RMSE of the same predictions unclipped (reeltrain reports clipped only).
sd: over the runs, n - 1; -anchor: RMSE minus the anchor's"""


@dataclass(frozen=True)
class Case:
    """One row of the table: a training method, run once per seed.

    Attributes:
        run: (seed, new folder) -> `test_rmse`, `test_mae` and, for the Keras script, `test_rmse_raw`.
    """

    split: str
    name: str
    run: Callable[[int, Path], dict[str, Any]]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=count, help=f"seeds 0 to N - 1  [default: {SEEDS}]")
    args = parser.parse_args()
    data = args.data.resolve()
    require_ml_100k(data, "u.data", "u1.base", "u1.test")
    end_cleanly_on_sigterm()
    epochs = QUICK_EPOCHS if args.quick else EPOCHS
    num_seeds = args.seeds or (QUICK_SEEDS if args.quick else SEEDS)

    facts = machine_facts()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="reeltrain-benchmark-") as folder:
        for number, case in enumerate(_cases(data, epochs)):
            results = []
            for seed in range(num_seeds):
                workdir = Path(folder) / f"{number}-{seed}"
                results.append(case.run(seed, workdir))
                rmse = results[-1]["test_rmse"]
                print(f"{case.split} {case.name}, seed {seed}: {rmse:.4f}", file=sys.stderr, flush=True)
            rows.append(_row(case, results))
            if case.name == OURS:
                rows += _baseline_rows(case.split, Path(folder) / f"{number}-0")

    figures = {
        "rows": rows,
        "epochs": epochs,
        "seeds": list(range(num_seeds)),
        "anchor": {"test_rmse": ANCHOR_RMSE, "test_mae": ANCHOR_MAE},
        "protocol": PROTOCOL.replace("\n", " "),
        "machine": facts,
    }
    print(_table(figures))
    if args.json:
        print(json.dumps(figures))


def _cases(data: Path, epochs: int) -> list[Case]:
    def ours(**settings: object) -> Callable[[int, Path], dict[str, Any]]:
        data_settings = {f"data.{key}": value for key, value in settings.items()}
        return lambda seed, workdir: (
            run_train(data, workdir=workdir, seed=seed, epochs=epochs, settings=data_settings).result
        )

    def article(*, seeded: bool, shuffle: bool) -> Callable[[int, Path], dict[str, Any]]:
        return lambda seed, _: (
            run_article_keras(data, epochs=epochs, seed=seed if seeded else None, shuffle=shuffle).result
        )

    cases = [
        Case("split42", OURS, ours(validation_fraction=0)),
        Case("split42", "reeltrain, 5 % validation cut (default)", ours()),
        Case("split42", "Keras fit, no seed: new order each epoch", article(seeded=False, shuffle=True)),
        Case("split42", "Keras fit, set_random_seed: one order", article(seeded=True, shuffle=True)),
        Case("split42", "Keras fit, shuffle=False: one order", article(seeded=True, shuffle=False)),
        Case("u1", OURS, ours(split="u1", validation_fraction=0)),
    ]
    return [case for case in cases if epochs > 1 or "one order" not in case.name]


def _row(case: Case, results: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"split": case.split, "name": case.name, "runs": len(results)}
    for key in ("test_rmse", "test_mae", "test_rmse_raw"):
        values = [result[key] for result in results if key in result]
        if values:
            row[key] = statistics.mean(values)
            row[f"{key}_sd"] = statistics.stdev(values) if len(values) > 1 else None
            row[f"{key}_by_run"] = values
    if case.split == "split42":
        row["rmse_minus_anchor"] = row["test_rmse"] - ANCHOR_RMSE
    return row


def _baseline_rows(split: str, workdir: Path) -> list[dict[str, Any]]:
    baselines = run_evaluate(workdir).result["baselines"]
    return [
        {"split": split, "name": name, "test_rmse": errors["rmse"], "test_mae": errors["mae"]}
        for name, errors in baselines.items()
        if "rmse" in errors
    ]


def _table(figures: dict[str, Any]) -> str:
    lines = [
        describe(figures["machine"]),
        f"{figures['epochs']} epoch(s), {len(figures['seeds'])} run(s) each, seeds 0 and up unless stated",
        "",
        f"{'split':9}{'':44}{'RMSE':>8}{'sd':>8}{'MAE':>8}{'sd':>8}{'raw':>8}{'-anchor':>9}",
    ]
    for row in figures["rows"]:
        values = (
            _cell(row, "test_rmse"),
            _cell(row, "test_rmse_sd"),
            _cell(row, "test_mae"),
            _cell(row, "test_mae_sd"),
            _cell(row, "test_rmse_raw"),
        )
        difference = f"{row['rmse_minus_anchor']:+9.4f}" if "rmse_minus_anchor" in row else ""
        lines.append(f"{row['split']:9}{row['name']:44}{''.join(values)}{difference}".rstrip())
    lines += [
        f"{'split42':9}{'anchor: given figures of the article':44}{ANCHOR_RMSE:8.4f}{'':8}{ANCHOR_MAE:8.4f}",
        "",
        PROTOCOL,
    ]
    return "\n".join(lines)


def _cell(row: dict[str, Any], key: str) -> str:
    return " " * 8 if row.get(key) is None else f"{row[key]:8.4f}"


if __name__ == "__main__":
    main()
