"""The verb `launch`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from data_pipeline.logs import log
from launch.options import AS_PATH, json_option, print_result
from launch.tables import quoted


@click.group()
def launch() -> None:
    """Start training in several worker processes."""


@launch.command("local", context_settings={"ignore_unknown_options": True})
@click.option("--workers", type=click.IntRange(min=1), required=True, help="Number of processes.")
@click.option(
    "--restarts",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Times to restart all workers from the newest checkpoint after one failed.",
)
@click.option(
    "--log-dir", type=AS_PATH, help="Folder of worker-<i>.log.  [default: <workdir>/logs, else runs/logs]"
)
@json_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def launch_local(
    workers: int, restarts: int, log_dir: Path | None, as_json: bool, arguments: tuple[str, ...]
) -> None:
    """Run `reeltrain train` in several worker processes on this machine.

    \b
    Example: reeltrain launch local --workers 2 -- train ratings.csv --workdir runs/two
    """
    from launch.jobs.local import run_workers

    if not arguments or arguments[0] != "train":
        raise click.UsageError(f"launch starts `train` with its arguments after --, got {list(arguments)}")
    log_dir = log_dir or _workdir_of(arguments) / "logs"
    log.info(f"launch    {workers} {'worker' if workers == 1 else 'workers'}; logs in {quoted(log_dir)}")
    as_json = as_json or "--json" in arguments
    arguments = (*arguments, *(["--json"] if as_json else []))
    result = run_workers(workers, list(arguments), log_dir=log_dir, restarts=restarts)
    lines = result.chief_stdout.splitlines()
    fields = {
        "workers": workers,
        "exit_statuses": result.exit_statuses,
        "restarts": result.restarts,
        "log_dir": str(log_dir),
        "result": json.loads(lines[-1]) if as_json and lines else None,
    }
    print_result(fields, "\n".join(lines), as_json)
    if result.first_failed is not None:
        log_file = quoted(log_dir / f"worker-{result.first_failed}.log")
        ended = f"worker {result.first_failed} ended with status {result.exit_status}; see {log_file}"
        print(f"reeltrain: {ended}", file=sys.stderr)
        sys.exit(result.exit_status)


def _workdir_of(arguments: tuple[str, ...]) -> Path:
    """The --workdir in the arguments of `train`, by default `runs`."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--workdir" and following:
            return Path(following)
        if argument.startswith("--workdir="):
            return Path(argument.removeprefix("--workdir="))
    return Path("runs")
