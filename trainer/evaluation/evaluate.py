"""Evaluates a trained run and baselines on the test split: ratings and rankings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.arguments import require_number, require_whole, require_whole_numbers
from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.dataset.summary import judged_line, judged_rows, protocol
from data_pipeline.errors import UserError, shown
from trainer.evaluation.baselines.bias import bias_model_of
from trainer.evaluation.baselines.ease import EaseRanker, why_too_large
from trainer.evaluation.baselines.popularity import PopularityRanker
from trainer.evaluation.holdout import holdout_of
from trainer.evaluation.protocol import ranking_protocol
from trainer.evaluation.slice_metrics import (
    Metrics,
    RankingTask,
    Recommender,
    ranking_slice_metrics,
    rating_slice_metrics,
)
from trainer.evaluation.slices import SLICES, ranking_slices, row_slices
from trainer.run.trained_run import Run, load_run

MODEL = "model"
KS = (5, 10, 20)
NUM_NEGATIVES = 100

# (name of the recommender, users done, users in total)
EvaluationProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a model and of baselines fitted to the same training rows, on the same test rows.

    Attributes:
        test: the metrics of the model. For ratings: `rmse` and `mae`. For rankings of all unseen items, with
            every k: `ndcg@10`, `recall@10`, `precision@10`, `hr@10`, `map@10`, `mrr@10`, `coverage@10`,
            `gini@10`, `novelty@10`, `diversity@10`. For the sampled protocol: `sampled/ndcg@10` and so on.
            Missing metrics have no key.
        baselines: baseline -> the same keys.
        slices: slice of `trainer.evaluation.slices` except `all` -> `model` or baseline -> the same keys.
        counts: slice -> number of `rows` (ratings) and of `users` (rankings) evaluated.
        ks: lengths of the recommendation lists, ascending.
        protocol: lines that state split, rows and clipping; candidates, ties, duplicates and negatives;
            skipped metrics and baselines.
        dataset: which rows were judged: `path`, `version` and `fingerprint` of the dataset, `split`, `rows`.
    """

    test: Metrics
    baselines: dict[str, Metrics]
    slices: dict[str, dict[str, Metrics]] = field(repr=False)
    counts: dict[str, dict[str, int]] = field(repr=False)
    ks: list[int]
    protocol: str
    dataset: dict[str, Any] = field(default_factory=dict, repr=False)


def evaluate(
    run: Run | str | Path,
    *,
    ks: Sequence[int] | None = None,
    num_negatives: int = NUM_NEGATIVES,
    ranking: bool = True,
    positive_from: float | None = None,
    max_users: int | None = None,
    seed: int = 0,
    others: Mapping[str, Recommender] | None = None,
    with_baselines: bool = True,
    progress: EvaluationProgress | None = None,
) -> Evaluation:
    """Evaluates a trained run (or its workdir) on the test split.

    Args:
        ks: lengths of the recommendation lists; None: the values of `KS` up to the number of items.
        num_negatives: negatives per relevant item in the sampled protocol; 0 skips the protocol.
        ranking: whether to evaluate rankings, which needs the scores of all items for all users.
        positive_from: the lowest rating that makes a test item relevant; None: the value of the run's
            objective. If that is None, every test item is relevant.
        max_users: rankings are evaluated for at most this number of users, drawn at random; None: for all.
        seed: seed of tie breaking, negatives and drawn users.
        others: trained baselines, by name.
        with_baselines: whether to evaluate also the baselines that need no training.
        progress: called with the name of the recommender, the number of users done and of users in total.

    Raises:
        UserError: a value is out of range, or there is no test row or no relevant one.
    """
    require_number(positive_from, "positive_from", or_none=True)
    require_whole(seed, "seed")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed must be at least 0 and below 2^32, got {seed}")
    _check_parts(others, progress)
    run = load_run(run)
    dataset = run.dataset
    ks = _check_arguments(ks, num_negatives, max_users, num_items=len(dataset.items))
    if positive_from is None:
        positive_from = run.config.objective.positive_from
    if not dataset.num_rows("test"):
        raise UserError(
            f"evaluate needs test rows, got none in {dataset.name}: it was prepared without a test split"
        )
    if not ranking and run.config.objective.is_ranking:
        raise UserError(
            "evaluating without rankings needs an objective that predicts ratings, got "
            f"objective.name={run.config.objective.name}"
        )
    task = None
    if ranking:
        holdout = holdout_of(dataset, "test", positive_from=positive_from)
        if max_users is not None:
            holdout = holdout.sample(max_users, seed=seed)
        task = RankingTask(dataset, holdout, ks, num_negatives, seed)
    predicts_ratings = not run.config.objective.is_ranking
    model = Recommender(run.scorer if predicts_ratings else None, run.ranker)
    baselines, skipped = _baselines(dataset, task) if with_baselines else ({}, [])
    results: dict[str, dict[str, Metrics]] = {}
    for name, recommender in {MODEL: model, **baselines, **(others or {})}.items():
        of_ratings = rating_slice_metrics(recommender, dataset, "test")
        of_rankings = {}
        if task is not None:
            of_rankings = ranking_slice_metrics(recommender, task, progress=_with_name(progress, name))
        results[name] = {
            slice_name: {**of_ratings.get(slice_name, {}), **of_rankings.get(slice_name, {})}
            for slice_name in SLICES
        }
    lines = [protocol(dataset), judged_line(dataset)]
    lines += [*([] if task is None else ranking_protocol(task, positive_from)), *skipped]
    return Evaluation(
        test=results[MODEL]["all"],
        baselines={name: metrics["all"] for name, metrics in results.items() if name != MODEL},
        slices={
            slice_name: {
                name: metrics[slice_name] for name, metrics in results.items() if metrics[slice_name]
            }
            for slice_name in SLICES[1:]
        },
        counts=_counts(dataset, task),
        ks=ks,
        protocol="\n".join(lines),
        dataset=judged_rows(dataset),
    )


def _check_arguments(
    ks: Sequence[int] | None, num_negatives: int, max_users: int | None, *, num_items: int
) -> list[int]:
    """Checks the ranges of the arguments; returns the distinct ks, ascending.

    Raises:
        UserError: a value is out of range.
    """
    if ks is None:
        ks = [k for k in KS if k <= num_items] or [num_items]
    if not isinstance(ks, Sequence) or isinstance(ks, str):
        raise UserError(f"ks must be a list of integers, got {ks!r}")
    require_whole_numbers(ks, "ks")
    require_whole(num_negatives, "num_negatives")
    require_whole(max_users, "max_users", or_none=True)
    if not ks or min(ks) < 1:
        raise UserError(f"every k must be at least 1, got {', '.join(map(str, ks)) or 'none'}")
    if max(ks) > num_items:
        raise UserError(f"every k must be at most the number of items, {num_items:,}, got {max(ks)}")
    if num_negatives < 0:
        raise UserError(f"the number of negatives must be at least 0, got {num_negatives}")
    if max_users is not None and max_users < 1:
        raise UserError(f"the number of users must be at least 1, got {max_users}")
    return sorted(set(ks))


def _check_parts(others: object, progress: object) -> None:
    """Raises UserError unless `others` are recommenders by name and `progress` can be called."""
    if progress is not None and not callable(progress):
        raise UserError(f"progress must be a function, got {shown(progress)}")
    if others is None:
        return
    if not isinstance(others, Mapping):
        raise UserError(f"others must be a mapping of names to recommenders, got {shown(others)}")
    for name, other in others.items():
        if not isinstance(other, Recommender):
            raise UserError(f"others must hold recommenders, got {name}: {shown(other)}")


def _baselines(
    dataset: PreparedDataset, task: RankingTask | None
) -> tuple[dict[str, Recommender], list[str]]:
    """Baselines by name, and a line for each one skipped; without a task, only those that predict ratings."""
    bias = bias_model_of(dataset)
    baselines = {
        "global_mean": Recommender(ratings=lambda user_index, _: np.full(len(user_index), bias.mean)),
        "user_item_bias": Recommender(ratings=bias.predict, ranker=bias),
    }
    if task is None:
        return baselines, []
    baselines["popularity"] = Recommender(ranker=PopularityRanker.fit(task.train))
    reason = why_too_large(task.train)
    if reason is not None:
        return baselines, [f"ease: left out, {reason}"]
    baselines["ease"] = Recommender(ranker=EaseRanker.fit(task.train))
    return baselines, []


def _counts(dataset: PreparedDataset, task: RankingTask | None) -> dict[str, dict[str, int]]:
    rows = dataset.columns("test")
    counts = {
        name: {"rows": int(mask.sum())} for name, mask in row_slices(rows.user_index, rows.item_index).items()
    }
    if task is not None:
        for name, ranking_slice in ranking_slices(task.holdout).items():
            counts[name]["users"] = len(ranking_slice.users)
    return counts


def _with_name(progress: EvaluationProgress | None, name: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(name, done, total)
