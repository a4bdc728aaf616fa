"""The verb `recommend`."""

from __future__ import annotations

from pathlib import Path

import click

from launch.options import (
    best_option,
    existing_run,
    json_option,
    model_option,
    print_result,
    workdir_argument,
)
from launch.tables import one_line, table


@click.command()
@workdir_argument
@click.option("--user", help="A user id.  [default: the user of the first test row]")
@click.option("-k", default=10, show_default=True, help="Number of items.")
@best_option
@model_option
@json_option
def recommend(
    workdir: Path | None, user: str | None, k: int, best: bool, model: str | None, as_json: bool
) -> None:
    """List the best items that a user has not rated.

    WORKDIR is a trained run; by default the newest one under runs/.
    """
    if k < 1:
        raise click.BadParameter(f"k must be at least 1, got {k}", param_hint="-k")
    workdir = existing_run(workdir, model)
    from trainer.run.trained_run import load_run
    from trainer.serving.recommend import recommend

    result = recommend(load_run(workdir, best=best, model=model), user, k=k)
    items = result.items.to_dict("records")
    user_id = one_line(str(result.user_id))
    lines = [
        f"user {user_id}: items not rated yet, best first"
        if result.known_user
        else f"user {user_id} is not in the training data: the items rated highest by all users"
    ]
    if items:
        cells = [
            [str(rank), str(item["title"] or item["item_id"]), f"{item['score']:.2f}"]
            for rank, item in enumerate(items, start=1)
        ]
        lines.append(table(["", "item", "score"], cells, left=(1,)))
    if len(items) < k:
        reason = "the user has rated every other item" if result.known_user else "there are no other items"
        lines.append(f"only {len(items)} of {k}: {reason}")
    fields = {
        "workdir": str(workdir),
        "user_id": result.user_id,
        "known_user": result.known_user,
        "items": items,
    }
    print_result(fields, "\n".join(lines), as_json)
