"""The verb `predict`."""

from __future__ import annotations

from pathlib import Path

import click

from launch.options import (
    AS_PATH,
    best_option,
    existing_run,
    json_option,
    model_option,
    print_result,
    workdir_argument,
)
from launch.tables import table


@click.command()
@workdir_argument
@click.option("--user", help="A user id; requires --item.")
@click.option("--item", help="An item id; requires --user.")
@click.option("--pairs", type=AS_PATH, help="A CSV file with columns user_id and item_id.")
@best_option
@model_option
@json_option
def predict(
    workdir: Path | None,
    user: str | None,
    item: str | None,
    pairs: Path | None,
    best: bool,
    model: str | None,
    as_json: bool,
) -> None:
    """Predict ratings for pairs of users and items.

    Without options: the first ten test rows, with their actual ratings. WORKDIR is a trained run; by default
    the newest one under runs/.
    """
    if (user is None) != (item is None):
        raise click.UsageError(
            f"--user and --item go together, got only {'--item' if user is None else '--user'}"
        )
    if pairs is not None and user is not None:
        raise click.UsageError("give --pairs or --user and --item, got both")
    from data_pipeline.parsing.pairs import read_pairs

    asked = read_pairs(pairs) if pairs is not None else [(user, item)] if user is not None else None
    workdir = existing_run(workdir, model)
    from trainer.run.trained_run import load_run
    from trainer.serving.predict import predict

    run = load_run(workdir, best=best, model=model)
    rows = predict(run, asked).to_dict("records")
    what = "score" if run.config.objective.is_ranking else "predicted"
    cells = []
    for row in rows:
        actual = "" if row["actual"] is None else f"{row['actual']:g}"
        unknown = [name for name in ("user", "item") if not row[f"known_{name}"]]
        note = f"unknown {' and '.join(unknown)}" if unknown else ""
        cells.append([str(row["user_id"]), str(row["item_id"]), f"{row['predicted']:.2f}", actual, note])
    text = table(["user", "item", what, "actual", ""], cells, left=(0, 1, 4))
    print_result({"workdir": str(workdir), "predictions": rows}, text, as_json)
