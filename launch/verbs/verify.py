"""The verb `verify`."""

from __future__ import annotations

import sys

import click

from launch.options import data_argument, json_option, print_result, recipe_option, settings_option


@click.command()
@data_argument
@recipe_option
@settings_option
@click.option("--replicas", default="1,2", show_default=True, help="On one worker; each is a layout.")
@click.option("--workers", default="1", show_default=True, help="With one replica each; each is a layout.")
@click.option(
    "--precision",
    type=click.Choice(["float64", "float32", "mixed_bfloat16", "mixed_float16"]),
    default="float64",
    show_default=True,
    help="float64 shows mistakes that float32's rounding would hide.",
)
@click.option("--steps", default=100, show_default=True, help="Over two epochs: an even number.")
@click.option("--tolerance", type=float, help="Largest difference that passes.  [default: by precision]")
@json_option
def verify(
    data: str | None,
    recipe: str | None,
    settings: tuple[str, ...],
    replicas: str,
    workers: str,
    precision: str,
    steps: int,
    tolerance: float | None,
    as_json: bool,
) -> None:
    """Proves that all layouts train the same: against one device, and that against NumPy.

    Trains the same global batches of a part of DATA on each layout, in processes of its own, and compares
    losses, weights, optimizer state and errors. Exit status 1 if a layout differs or fails.
    """
    from trainer.config import DEFAULT_RECIPE, RECIPES, make_config

    recipe = recipe or DEFAULT_RECIPE
    make_config(recipe, RECIPES, settings)
    replica_counts, worker_counts = _counts("--replicas", replicas), _counts("--workers", workers)
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise click.UsageError(f"--tolerance must be at least 0 and finite, got {tolerance}")
    from trainer.verification.verify import verify

    result = verify(
        data,
        recipe=recipe,
        settings=settings,
        replicas=replica_counts,
        workers=worker_counts,
        precision=precision,
        steps=steps,
        tolerance=tolerance,
        command=(sys.executable, "-m", "launch.main"),
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print_result(result.fields(), result.text(), as_json)
    if not result.passed:
        print(f"reeltrain: {result.first_failure}", file=sys.stderr)
        sys.exit(1)


def _counts(option: str, text: str) -> list[int]:
    """`1,2,4` as numbers."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise click.UsageError(
            f"{option} must be whole numbers of at least 1 with commas between, got {text!r}"
        )
    return counts
