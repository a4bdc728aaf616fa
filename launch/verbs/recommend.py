"""The verb `recommend`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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
from launch.tables import one_line, quoted, table
from launch.users_progress import UsersProgress

if TYPE_CHECKING:
    from trainer.run.trained_run import Run
    from trainer.serving.recommend_many import Lists

FORMATS = ".parquet, .csv or .jsonl (these two also .gz)"


class Choice(NamedTuple):
    """What a list may hold, as `recommend` takes it."""

    exclude: Path | list[str] | None
    only: Path | list[str] | None
    include_seen: bool


@click.command()
@workdir_argument
@click.option("--user", help="A user id.  [default: the user of the first test row]")
@click.option("-k", default=10, show_default=True, help="Number of items.")
@click.option(
    "--users",
    metavar="FILE|all",
    help="Many users: a file with one id per line, or with a column of users (CSV, Parquet); or all users of "
    "the training rows. Needs --out.",
)
@click.option("--out", type=AS_PATH, metavar="FILE", help=f"Write the lists of --users: {FORMATS}.")
@click.option(
    "--exclude",
    metavar="FILE|IDS",
    help="Items to leave out: a file as of --users, or ids separated by commas. If it has a column of users "
    "too, these pairs are left out.",
)
@click.option("--only", metavar="FILE|IDS", help="The items to choose from, as of --exclude.")
@click.option("--include-seen", is_flag=True, help="Keep the items that the user has rated.")
@best_option
@model_option
@json_option
def recommend(
    workdir: Path | None,
    user: str | None,
    k: int,
    users: str | None,
    out: Path | None,
    exclude: str | None,
    only: str | None,
    include_seen: bool,
    best: bool,
    model: str | None,
    as_json: bool,
) -> None:
    """List the best unseen items for one user or for many.

    WORKDIR is a trained run; by default the newest one under runs/.
    """
    if k < 1:
        raise click.BadParameter(f"k must be at least 1, got {k}", param_hint="-k")
    if user is not None and users is not None:
        raise click.UsageError(f"--user and --users exclude each other, got {user} and {users}")
    if (users is None) != (out is None):
        raise click.UsageError("--users and --out FILE need each other, got only one of them")
    if users not in (None, "all") and not Path(str(users)).is_file():
        raise click.BadParameter(f"must be a file of ids or all, got {users}", param_hint="--users")
    choice = Choice(_file_or_ids(exclude, "--exclude"), _file_or_ids(only, "--only"), include_seen)
    workdir = existing_run(workdir, model)
    if users is not None and out is not None:
        from trainer.serving.table_file import table_format

        table_format(out)  # before TensorFlow loads
    from trainer.run.trained_run import load_run

    run = load_run(workdir, best=best, model=model)
    if users is not None and out is not None:
        lists = _write_lists(run, users, k, choice, out)
        fields = {"workdir": str(workdir), "out": str(out), **dataclasses.asdict(lists)}
        print_result(fields, _summary(lists, k, out), as_json)
    else:
        _print_list(run, workdir, user, k, choice, as_json)


def _print_list(run: Run, workdir: Path, user: str | None, k: int, choice: Choice, as_json: bool) -> None:
    from trainer.serving.recommend import recommend

    exclude, only, include_seen = choice
    result = recommend(run, user, k=k, exclude=exclude, only=only, include_seen=include_seen)
    items = result.items.to_dict("records")
    user_id = one_line(str(result.user_id))
    lines = [
        f"user {user_id}: {'items' if include_seen else 'items not rated yet'}, best first"
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
        if exclude or only or include_seen:
            reason = "there are no other items to choose from"
        lines.append(f"only {len(items)} of {k}: {reason}")
    fields = {
        "workdir": str(workdir),
        "user_id": result.user_id,
        "known_user": result.known_user,
        "items": items,
    }
    print_result(fields, "\n".join(lines), as_json)


def _write_lists(run: Run, users: str, k: int, choice: Choice, out: Path) -> Lists:
    from trainer.serving.recommend import recommend

    progress = UsersProgress()
    try:
        return recommend(
            run,
            user_ids="all" if users == "all" else Path(users),
            k=k,
            exclude=choice.exclude,
            only=choice.only,
            include_seen=choice.include_seen,
            out=out,
            progress=progress.show,
        )
    finally:
        progress.close()


def _file_or_ids(value: str | None, option: str) -> Path | list[str] | None:
    """A file if there is one of this name, else ids separated by commas."""
    if value is None:
        return None
    if Path(value).is_file():
        return Path(value)
    if value.lower().endswith((".txt", ".csv", ".tsv", ".parquet", ".gz")) or "/" in value:
        raise click.BadParameter(f"no such file: {value}", param_hint=option)
    ids = [each for each in value.split(",") if each.strip()]
    if not ids:
        raise click.BadParameter(f"needs a file or ids, got {value!r}", param_hint=option)
    return ids


def _summary(lists: Lists, k: int, out: Path) -> str:
    lines = [f"{lists.users:,} users, {lists.rows:,} items: {quoted(out)}"]
    if lists.unknown_users:
        lines.append(
            f"{lists.unknown_users:,} users are not in the training data: the items rated highest by all"
        )
    if lists.short_users:
        lines.append(f"{lists.short_users:,} users have fewer than {k} items left to choose from")
    return "\n".join(lines)
