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


@click.command()
@workdir_argument
@click.option("--user", help="A raw user id.  [default: the user of the first test row]")
@click.option("-k", default=10, show_default=True, help="How many items.")
@best_option
@model_option
@json_option
def recommend(
    workdir: Path | None, user: str | None, k: int, best: bool, model: str | None, as_json: bool
) -> None:
    """The k best items that a user has not rated yet."""
    if k < 1:
        raise click.BadParameter(f"k must be at least 1, got {k}", param_hint="-k")
    workdir = existing_run(workdir, model)
    from trainer.run.trained_run import load_run
    from trainer.serving.recommend import recommend

    result = recommend(load_run(workdir, best=best, model=model), user, k=k)
    items = result.items.to_dict("records")
    lines = [
        f"for user {result.user_id}, nothing already rated"
        if result.known_user
        else f"user {result.user_id} is not in the training data: the items best liked by everybody"
    ]
    for rank, item in enumerate(items, start=1):
        lines.append(f"{rank:3}. {item['title'] or item['item_id']}  ({item['score']:.2f})")
    if len(items) < k:
        lines.append(f"{len(items)} of {k} asked for: training knows no more that the user has not rated")
    fields = {
        "workdir": str(workdir),
        "user_id": result.user_id,
        "known_user": result.known_user,
        "items": items,
    }
    print_result(fields, "\n".join(lines), as_json)
