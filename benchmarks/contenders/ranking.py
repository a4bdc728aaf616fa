"""Seconds of ranking all unseen items for each user, metrics included: reeltrain, or a loop over users.

The job has `way` (ours, loop), `users`, `items`, `ratings`, `test_ratings` and `num_ranked`, the number of
users to rank for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from harness.children import serve

from data_pipeline.features.interactions import Interactions
from trainer.evaluation.catalog_metrics import ItemFeatures, catalog_metrics
from trainer.evaluation.holdout import Holdout
from trainer.evaluation.ranking_metrics import hits, ranking_metrics
from trainer.evaluation.sampled_metrics import sampled_ranks
from trainer.ranking.top_items import score_blocks, top_items

DIM, KS, NUM_NEGATIVES, NUM_GENRES = 64, (5, 10, 20), 100, 18
LOOP_USERS = 2_000  # users whose NDCG both methods report


class DotProduct:
    """A ranker with random float32 vectors, like an untrained matrix factorization."""

    def __init__(self, rng: np.random.Generator, num_user_rows: int, num_item_rows: int) -> None:
        self.user_UF = rng.standard_normal((num_user_rows, DIM), np.float32)
        self.item_IF = rng.standard_normal((num_item_rows, DIM), np.float32)
        self.num_item_rows = num_item_rows

    def scores(self, user_index: np.ndarray) -> np.ndarray:
        return self.user_UF[user_index] @ self.item_IF.T


def measure(job: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    rows = {"num_user_rows": job["users"] + 1, "num_item_rows": job["items"] + 1}
    train = Interactions.of([_pairs(rng, job, job["ratings"])], **rows)
    test = Interactions.of([_pairs(rng, job, job["test_ratings"])], **rows)
    ranker = DotProduct(rng, **rows)
    genres = np.sort(rng.random((job["items"] + 1, NUM_GENRES)).argpartition(3)[:, :3])
    features = ItemFeatures(np.arange(job["items"] + 2) * 3, genres.ravel(), NUM_GENRES)
    user_index = np.flatnonzero(test.counts)[: job["num_ranked"]].astype(np.int32)
    # Resets the peak memory: the data is in memory already, the rest is ranking.
    Path("/proc/self/clear_refs").write_text("5")
    before_mib = _memory_mib("VmRSS")
    measured = {"ours": _ours, "loop": _loop}[job["way"]](ranker, user_index, train, test, features)
    return {
        "users": len(user_index),
        "users_of_all": int((test.counts > 0).sum()),
        "data_mib": before_mib,
        "ranking_mib": _memory_mib("VmHWM") - before_mib,
        **measured,
    }


def _memory_mib(name: str) -> float:
    """Memory of this process in MiB as Linux reports it: `VmRSS` now, `VmHWM` at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


def _pairs(rng: np.random.Generator, job: dict[str, Any], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pairs: uniform users, and half of the ratings on an eighth of the items."""
    user = rng.integers(1, job["users"] + 1, count)
    return user, 1 + (rng.random(count) ** 3 * job["items"]).astype(np.int64)


def _ours(
    ranker: DotProduct,
    user_index: np.ndarray,
    train: Interactions,
    test: Interactions,
    features: ItemFeatures,
) -> dict[str, Any]:
    begin = time.perf_counter()
    seen, relevant = train.select(user_index), test.select(user_index)
    top_UK = top_items(ranker, user_index, seen=seen, k=max(KS))
    ranked = time.perf_counter()
    by_user = ranking_metrics(hits(top_UK, relevant), relevant.counts, ks=KS)
    metrics = {name: float(values.mean()) for name, values in by_user.items()}
    metrics |= catalog_metrics(top_UK, ks=KS, train=train, features=features)
    end = time.perf_counter()
    return {
        "secs": end - begin,
        "metrics_secs": end - ranked,
        "sampled_secs": _sampled_secs(ranker, user_index, train, test),
        "ndcg@10": float(by_user["ndcg@10"][:LOOP_USERS].mean()),
    }


def _sampled_secs(
    ranker: DotProduct, user_index: np.ndarray, train: Interactions, test: Interactions
) -> float:
    """Seconds of scores and the sampled protocol for a tenth of the users, scaled up to all."""
    some = user_index[::10]
    relevant, seen = test.select(some), train.select(some)
    holdout = Holdout(some, relevant, np.zeros(len(some), np.int64), seen, seen, 0)
    begin = time.perf_counter()
    for block in score_blocks(ranker, some):
        first, scores_UI = block.rows.start, block.scores
        sampled_ranks(
            lambda row, item: scores_UI[row - first, item],  # noqa: B023
            holdout,
            np.arange(first, block.rows.stop),
            num_negatives=NUM_NEGATIVES,
        )
    return (time.perf_counter() - begin) * len(user_index) / len(some)


def _loop(
    ranker: DotProduct, user_index: np.ndarray, train: Interactions, test: Interactions, _: ItemFeatures
) -> dict[str, Any]:
    """The common implementation: for each user, a sort of all scores, then sets and sums in Python."""
    begin = time.perf_counter()
    values = []
    for user in user_index:
        scores = ranker.item_IF @ ranker.user_UF[user]
        scores[0] = -np.inf
        scores[_items(train, user)] = -np.inf
        top = np.argsort(-scores)[: max(KS)].tolist()
        values.append([metric(top[:k], set(_items(test, user).tolist())) for k in KS for metric in METRICS])
    means = np.mean(values, axis=0)
    secs = time.perf_counter() - begin
    return {"secs": secs, "ndcg@10": float(means[len(METRICS)])}


def _items(interactions: Interactions, user: int) -> np.ndarray:
    return interactions.items[interactions.offsets[user] : interactions.offsets[user + 1]]


def _ndcg(top: list[int], relevant: set[int]) -> float:
    gained = sum(1 / math.log2(rank + 2) for rank, item in enumerate(top) if item in relevant)
    return gained / sum(1 / math.log2(rank + 2) for rank in range(min(len(top), len(relevant))))


def _recall(top: list[int], relevant: set[int]) -> float:
    return len(relevant.intersection(top)) / len(relevant)


def _precision(top: list[int], relevant: set[int]) -> float:
    return len(relevant.intersection(top)) / len(top)


def _hit_rate(top: list[int], relevant: set[int]) -> float:
    return float(bool(relevant.intersection(top)))


def _average_precision(top: list[int], relevant: set[int]) -> float:
    num_hits, total = 0, 0.0
    for rank, item in enumerate(top, start=1):
        if item in relevant:
            num_hits += 1
            total += num_hits / rank
    return total / min(len(top), len(relevant))


def _reciprocal_rank(top: list[int], relevant: set[int]) -> float:
    return next((1 / rank for rank, item in enumerate(top, start=1) if item in relevant), 0.0)


METRICS: list[Callable[[list[int], set[int]], float]] = [
    _ndcg,
    _recall,
    _precision,
    _hit_rate,
    _average_precision,
    _reciprocal_rank,
]


if __name__ == "__main__":
    serve(measure)
