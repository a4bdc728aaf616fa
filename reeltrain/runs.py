"""Judging trained runs and layouts of devices."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from data_pipeline.arguments import require_whole, require_whole_numbers
from data_pipeline.config import DataSettings, setting_of_keywords
from data_pipeline.errors import UserError, shown
from trainer.config.parse import setting_texts
from trainer.evaluation.evaluate import NUM_NEGATIVES, Evaluation, EvaluationProgress
from trainer.evaluation.evaluate import evaluate as evaluate_run
from trainer.evaluation.slice_metrics import Recommender
from trainer.models import ModelFunction
from trainer.run.trained_run import Run, load_run
from trainer.studies.seeds import Spread, evaluate_seeds
from trainer.studies.trained_baseline import with_trained_baseline
from trainer.verification import verify as verification
from trainer.verification.verify import TOLERANCES, Verification

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["evaluate", "verify"]


@overload
def evaluate(
    run: Run | str | Path,
    *,
    seeds: None = None,
    best: bool = ...,
    model: ModelFunction | None = ...,
    trained_baseline: bool | None = ...,
    ks: Sequence[int] | None = ...,
    num_negatives: int = ...,
    ranking: bool = ...,
    positive_from: float | None = ...,
    max_users: int | None = ...,
    seed: int = ...,
    others: Mapping[str, Recommender] | None = ...,
    progress: EvaluationProgress | None = ...,
) -> Evaluation: ...


@overload
def evaluate(
    run: Run | str | Path,
    *,
    seeds: int,
    best: bool = ...,
    model: ModelFunction | None = ...,
    trained_baseline: bool | None = ...,
    ks: Sequence[int] | None = ...,
    num_negatives: int = ...,
    ranking: bool = ...,
    positive_from: float | None = ...,
    max_users: int | None = ...,
    seed: int = ...,
    others: Mapping[str, Recommender] | None = ...,
    progress: EvaluationProgress | None = ...,
) -> Spread: ...


def evaluate(
    run: Run | str | Path,
    *,
    seeds: int | None = None,
    best: bool = False,
    model: ModelFunction | None = None,
    trained_baseline: bool | None = False,
    ks: Sequence[int] | None = None,
    num_negatives: int = NUM_NEGATIVES,
    ranking: bool = True,
    positive_from: float | None = None,
    max_users: int | None = None,
    seed: int = 0,
    others: Mapping[str, Recommender] | None = None,
    progress: EvaluationProgress | None = None,
) -> Evaluation | Spread:
    """Evaluates a trained run on the test split, next to baselines fitted on the same training rows.

    Args:
        run: a trained run or its workdir.
        seeds: trains the run's settings again with the seeds 0 to seeds - 1 on the same split and evaluates
            each; the trained runs are kept in the workdir's `seeds/`. None: evaluates the run alone.
        best: takes the checkpoint that is best on validation, not the newest; needs a workdir.
        model: the function that made the run's model, where it cannot be imported.
        trained_baseline: also trains a matrix factorization as a baseline and keeps it in the workdir's
            `baselines/`; None: with at most 2,000,000 training rows, as the command line does.
        ks: lengths of the lists of recommended items; None: 5, 10 and 20, as far as there are items.
        num_negatives: items that each test item is ranked among in the sampled protocol; 0 leaves it out.
        ranking: whether rankings are judged, which takes the scores of all items for all users.
        positive_from: lowest rating that makes a test item relevant; None: that of the run's objective, and
            without one every test item is.
        max_users: number of users, drawn at random, that rankings are judged by; None: all.
        seed: of ties, negatives and drawn users.
        others: further recommenders to evaluate in the same way, by name; they are among the baselines.
        progress: called with (who ranks, users done, users in all).

    Returns:
        An `Evaluation`; with `seeds` a `Spread`: mean and standard deviation (n - 1) of every metric.

    Raises:
        UserError: no run there, a value out of range, no test row or no relevant one; with `seeds`, a run
            that is not trained to its end.
    """
    require_whole(seeds, "seeds", or_none=True)
    if seeds is not None and seeds < 1:
        raise UserError(f"seeds must be at least 1, got {seeds}")
    options: dict[str, Any] = {
        "ks": ks,
        "num_negatives": num_negatives,
        "ranking": ranking,
        "positive_from": positive_from,
        "max_users": max_users,
        "seed": seed,
        "others": others,
        "progress": progress,
    }
    if seeds is not None:
        workdir = run.workdir if isinstance(run, Run) else run
        return evaluate_seeds(workdir, seeds, best=best, wanted=trained_baseline, model=model, **options)
    if best and isinstance(run, Run):
        raise UserError(f"best chooses a checkpoint of a workdir, got a loaded run of step {run.step}")
    run = load_run(run, best=best, model=model)
    if trained_baseline is False:
        return evaluate_run(run, **options)
    return with_trained_baseline(run, wanted=trained_baseline, **options)


def verify(
    data: str | Path | pd.DataFrame | None = None,
    *,
    recipe: str = "article",
    settings: Mapping[str, object] | Iterable[str] = (),
    replicas: Sequence[int] = (1, 2),
    workers: Sequence[int] = (1,),
    precision: Literal["float64", "float32", "mixed_bfloat16", "mixed_float16"] = "float64",
    steps: int = 100,
    tolerance: float | None = None,
    **data_settings: Unpack[DataSettings],
) -> Verification:
    """Trains the same global batches on each layout of devices and compares what they arrive at.

    Each layout trains in its own processes; all are compared with the single device, and that with a second
    implementation in NumPy. `Verification.passed` is the verdict.

    Args:
        data: as of `train`; a part of its rows is used, always the same.
        recipe, settings: as of `train`, except for epochs, steps, replicas, precision and logging.
        replicas: numbers of devices of one worker; each is a layout.
        workers: numbers of workers with one device each; each is a layout.
        precision: float64 shows mistakes that the rounding of float32 would hide.
        steps: an even number: of two epochs together.
        tolerance: the largest difference that passes; None: by precision.
        data_settings: how ratings are read, as of `train`.

    Raises:
        UserError: a mistake in the arguments or the data.
    """
    replicas = require_whole_numbers(replicas, "replicas")
    workers = require_whole_numbers(workers, "workers")
    require_whole(steps, "steps")
    for name, counts in (("replicas", replicas), ("workers", workers)):
        if not counts or min(counts) < 1:
            raise UserError(f"{name} must be whole numbers of at least 1, got {counts}")
    if not isinstance(precision, str) or precision not in TOLERANCES:
        raise UserError(f"precision must be one of {', '.join(TOLERANCES)}, got {precision!r}")
    if tolerance is not None and not (isinstance(tolerance, int | float) and 0 <= tolerance < math.inf):
        raise UserError(f"tolerance must be at least 0 and finite, got {shown(tolerance)}")
    return verification.verify(
        data,
        recipe=recipe,
        settings=setting_of_keywords(data_settings, setting_texts(settings)),
        replicas=replicas,
        workers=workers,
        precision=precision,
        steps=steps,
        tolerance=tolerance,
        command=(sys.executable, "-m", "launch.main"),
    )
