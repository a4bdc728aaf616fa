"""Describes how rankings were evaluated, because metrics of different protocols cannot be compared."""

from __future__ import annotations

import numpy as np

from trainer.evaluation.slice_metrics import RankingTask
from trainer.ranking.top_items import TIE_RULE


def ranking_protocol(task: RankingTask, positive_from: float | None) -> list[str]:
    """One line each on candidates, relevance, ties, duplicates, negatives and a skipped metric."""
    holdout, settings = task.holdout, task.dataset.settings
    condition = "" if positive_from is None else f" rated {positive_from:g} or higher"
    num_relevant, num_cold = holdout.num_relevant.sum(), holdout.num_cold_relevant.sum()
    num_items = holdout.relevant.num_item_rows - 1
    lines = [
        f"ranking: {len(holdout):,} users; candidates are all {num_items:,} training items except the user's "
        "items in train and validation; means over users",
        f"relevant: each test item{condition}, {num_relevant:,} in total; {num_cold:,} that are not in "
        "training count as missed",
        f"ties: {TIE_RULE}, seed {task.seed}",
        f"duplicates: {settings.duplicates} in preparation; a relevant item counts once per user, and not if "
        f"the user also has it in train or validation: {holdout.num_seen_again:,} left out",
    ]
    if task.num_negatives:
        num_short = np.sum(num_items - holdout.rated.counts < task.num_negatives)
        lines.append(
            f"sampled: each relevant item ranked among {task.num_negatives} items that the user has not "
            f"rated in any split, drawn uniformly without replacement, seed {task.seed}"
            + (f" ({num_short:,} users have fewer)" if num_short else "")
            + "; means over relevant items"
        )
    if task.features is None:
        lines.append("diversity: left out, the items have no list column such as genres")
    return lines
