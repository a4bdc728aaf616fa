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


@click.command()
@workdir_argument
@click.option("--user", help="A raw user id; needs --item.")
@click.option("--item", help="A raw item id; needs --user.")
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
    """Predicted ratings: the first ten test rows beside the actual ones, or what is asked for."""
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
    lines = [f"{'user':>10}{'item':>10}{what:>11}{'actual':>8}"]
    for row in rows:
        actual = "" if row["actual"] is None else f"{row['actual']:g}"
        unknown = [what for what in ("user", "item") if not row[f"known_{what}"]]
        note = f"  unknown {' and '.join(unknown)}" if unknown else ""
        lines.append(f"{row['user_id']!s:>10}{row['item_id']!s:>10}{row['predicted']:11.2f}{actual:>8}{note}")
    print_result({"workdir": str(workdir), "predictions": rows}, "\n".join(lines), as_json)
