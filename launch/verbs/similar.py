"""The verb `similar`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

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
@click.option("--item", "items", multiple=True, help="An item id; repeatable.")
@click.option("--user", "users", multiple=True, help="A user id; repeatable. Items or users, not both.")
@click.option("-k", default=10, show_default=True, help="Number of items or users.")
@click.option(
    "--measure",
    type=click.Choice(["cosine", "dot"]),
    default="cosine",
    show_default=True,
    help="Cosine of the angle between vectors, or their inner product.",
)
@best_option
@model_option
@json_option
def similar(
    workdir: Path | None,
    items: tuple[str, ...],
    users: tuple[str, ...],
    k: int,
    measure: Literal["cosine", "dot"],
    best: bool,
    model: str | None,
    as_json: bool,
) -> None:
    """List the nearest items or users by their vectors.

    WORKDIR is a trained run; by default the newest one under runs/.
    """
    if bool(items) == bool(users):
        raise click.UsageError(f"give one of --item and --user, got {'both' if items else 'none'}")
    if k < 1:
        raise click.BadParameter(f"k must be at least 1, got {k}", param_hint="-k")
    workdir = existing_run(workdir, model)
    from trainer.run.trained_run import load_run
    from trainer.serving.similar import similar

    side, asked = ("item", items) if items else ("user", users)
    run = load_run(workdir, best=best, model=model)
    # Each id once: rows are told apart by the id that was asked for.
    asked = tuple(dict.fromkeys(asked))
    ids: dict[str, Any] = {f"{side}_id": list(asked)}
    found = similar(run, k=k, measure=measure, **ids)
    groups: list[dict[str, Any]] = [
        {f"{side}_id": each, "similar": found[found["of"] == each].drop(columns="of").to_dict("records")}
        for each in asked
    ]
    lines = []
    for group in groups:
        rows = group["similar"]
        lines.append(f"{side} {one_line(str(group[f'{side}_id']))}: the most similar {side}s by {measure}")
        cells = [
            [str(rank), str(row.get("title") or row[f"{side}_id"]), f"{row['score']:.4f}"]
            for rank, row in enumerate(rows, start=1)
        ]
        if cells:
            lines.append(table(["", side, measure], cells, left=(1,)))
        if len(rows) < k:
            lines.append(f"only {len(rows)} of {k}: there are no other {side}s")
    fields = {"workdir": str(workdir), "measure": measure, "results": groups}
    print_result(fields, "\n".join(lines), as_json)
