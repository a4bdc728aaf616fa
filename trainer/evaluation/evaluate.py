"""How good a trained run is on its test rows, beside baselines: ratings and rankings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.dataset.summary import protocol
from data_pipeline.errors import UserError
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
    rating_slices,
)
from trainer.evaluation.slices import SLICES, ranking_slices, row_slices
from trainer.run.trained_run import Run, load_run

MODEL = "model"
KS = (5, 10, 20)
NUM_NEGATIVES = 100

# Who is ranking, users done, of how many.
EvaluationProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """A model and baselines fitted on the same training rows, judged by the same test rows.

    Attributes:
        test: the model's metrics: `rmse` and `mae`; for every k, of rankings of all unseen items, `ndcg@10`,
            `recall@10`, `precision@10`, `hr@10`, `map@10`, `mrr@10`, `coverage@10`, `gini@10`, `novelty@10`,
            `diversity@10`; of the sampled protocol `sampled/ndcg@10` and so on. What there is not has no key.
        baselines: name -> the same keys.
        slices: of `trainer.evaluation.slices` but for `all`: name -> who, `model` or a baseline -> the same
            keys.
        counts: slice -> `rows` that ratings and `users` that rankings were judged by.
        ks: lengths of the lists, ascending.
        protocol: lines: split, rows, clipping; candidates, ties, duplicates, negatives; what was left out.
    """

    test: Metrics
    baselines: dict[str, Metrics]
    slices: dict[str, dict[str, Metrics]]
    counts: dict[str, dict[str, int]]
    ks: list[int]
    protocol: str


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
    """Evaluates a trained run (or its workdir) on the test split, which nothing was chosen on.

    Args:
        ks: lengths of the lists of recommended items; None: those of `KS` for which there are items enough.
        num_negatives: of the sampled protocol; 0 leaves it out.
        ranking: whether rankings are judged, which takes the scores of all items for all users.
        positive_from: the lowest rating that makes a test item relevant; None: what the run's objective
            says, and without that every item is.
        max_users: rankings are judged by so many users, drawn at random; None: by all.
        seed: of ties, negatives and drawn users.
        others: baselines trained elsewhere, by name.
        with_baselines: whether those that need no training are judged, too.
        progress: is told who ranks, and how many of how many users are done.

    Raises:
        UserError: a value out of range, no test row, or no relevant one.
    """
    run = load_run(run)
    dataset = run.dataset
    ks = _checked(ks, num_negatives, max_users, num_items=len(dataset.items))
    if positive_from is None:
        positive_from = run.config.objective.positive_from
    if not dataset.num_rows("test"):
        raise UserError(f"evaluate needs test rows, got none in {dataset.name}: it was prepared without")
    if not ranking and run.config.objective.is_ranking:
        raise UserError(f"objective.name={run.config.objective.name} gives no ratings: nothing but rankings")
    task = None
    if ranking:
        holdout = holdout_of(dataset, "test", positive_from=positive_from)
        if max_users is not None:
            holdout = holdout.sample(max_users, seed=seed)
        task = RankingTask(dataset, holdout, ks, num_negatives, seed)
    gives_ratings = not run.config.objective.is_ranking
    model = Recommender(run.scorer if gives_ratings else None, run.ranker)
    baselines, skipped = _baselines(dataset, task) if with_baselines else ({}, [])
    results: dict[str, dict[str, Metrics]] = {}
    for name, contender in {MODEL: model, **baselines, **(others or {})}.items():
        rated = rating_slices(contender, dataset, "test")
        ranked = {}
        if task is not None:
            ranked = ranking_slice_metrics(contender, task, progress=_named(progress, name))
        results[name] = {part: {**rated.get(part, {}), **ranked.get(part, {})} for part in SLICES}
    lines = [protocol(dataset), *([] if task is None else ranking_protocol(task, positive_from)), *skipped]
    return Evaluation(
        test=results[MODEL]["all"],
        baselines={name: metrics["all"] for name, metrics in results.items() if name != MODEL},
        slices={
            part: {name: metrics[part] for name, metrics in results.items() if metrics[part]}
            for part in SLICES[1:]
        },
        counts=_counts(dataset, task),
        ks=ks,
        protocol="\n".join(lines),
    )


def _checked(
    ks: Sequence[int] | None, num_negatives: int, max_users: int | None, *, num_items: int
) -> list[int]:
    """The ks, ascending and once each."""
    if ks is None:
        ks = [k for k in KS if k <= num_items] or [num_items]
    if not ks or min(ks) < 1:
        raise UserError(f"every k must be at least 1, got {', '.join(map(str, ks)) or 'none'}")
    if max(ks) > num_items:
        raise UserError(f"every k must be at most the number of items, {num_items:,}, got {max(ks)}")
    if num_negatives < 0:
        raise UserError(f"the number of negatives must be at least 0, got {num_negatives}")
    if max_users is not None and max_users < 1:
        raise UserError(f"the number of users must be at least 1, got {max_users}")
    return sorted(set(ks))


def _baselines(
    dataset: PreparedDataset, task: RankingTask | None
) -> tuple[dict[str, Recommender], list[str]]:
    """Baselines by name, and in words which are not there; without a task those of ratings."""
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
        for name, part in ranking_slices(task.holdout).items():
            counts[name]["users"] = len(part.users)
    return counts


def _named(progress: EvaluationProgress | None, name: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(name, done, total)
