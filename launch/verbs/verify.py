"""The verb `verify`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from launch.options import data_argument, json_option, print_result, recipe_option, settings_option
from launch.tables import table, wrapped

if TYPE_CHECKING:
    from trainer.verification.verify import Verification


@click.command()
@data_argument
@recipe_option
@settings_option
@click.option(
    "--replicas",
    default="1,2",
    show_default=True,
    help="Layouts of one worker: replicas, separated by commas.",
)
@click.option(
    "--workers",
    default="1",
    show_default=True,
    help="Layouts of one replica per worker: workers, separated by commas.",
)
@click.option(
    "--precision",
    type=click.Choice(["float64", "float32", "mixed_bfloat16", "mixed_float16"]),
    default="float64",
    show_default=True,
    help="float64 shows errors that rounding hides in float32.",
)
@click.option(
    "--steps", default=100, show_default=True, help="Training steps over two epochs; an even number."
)
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
    """Check that all device layouts train the same model.

    Each layout trains the same global batches of a subset of DATA in separate processes. Losses, weights,
    optimizer state and metrics are compared with those of one device, which is compared with NumPy. Exit
    status 1 if a layout differs or fails.
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
    )
    print_result(result.fields(), _text(result), as_json)
    if not result.passed:
        print(f"reeltrain: {result.first_failure}", file=sys.stderr)
        sys.exit(1)


def _text(result: Verification) -> str:
    """The largest differences of each layout, what was covered, and the verdict."""
    cells = []
    for each in result.comparisons:
        values = (each.loss_difference, each.weight_difference, each.metric_difference)
        shown = ("-" if value is None else f"{value:.1e}" for value in values)
        cells.append([each.name, each.against, *shown, "FAILED" if each.failure else "ok"])
    heads = ["layout", "compared with", "loss", "weights", "metrics", "result"]
    lines = [table(heads, cells, left=(0, 1, 5))]
    if result.no_reference:
        lines.append(result.no_reference)
    lines += wrapped(f"covered: {', '.join(result.covered)}")
    verdict = "passed" if result.passed else "FAILED"
    lines.append(f"{verdict}: {result.steps} steps in {result.precision}, tolerance {result.tolerance:g}")
    return "\n".join(lines)


def _counts(option: str, text: str) -> list[int]:
    """The integers of `1,2,4`."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise click.UsageError(f"{option} must be integers of at least 1, separated by commas, got {text!r}")
    return counts
