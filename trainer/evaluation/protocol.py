"""How a run was evaluated, in words: figures mean little without."""

from __future__ import annotations

import numpy as np

from trainer.evaluation.slice_metrics import RankingTask
from trainer.ranking.top_items import TIE_RULE


def ranking_protocol(task: RankingTask, positive_from: float | None) -> list[str]:
    """Candidates, relevance, ties, duplicates and negatives, a line each."""
    holdout, settings = task.holdout, task.dataset.settings
    rated = "" if positive_from is None else f" rated {positive_from:g} or higher"
    num_relevant, num_cold = holdout.num_relevant.sum(), holdout.num_cold_relevant.sum()
    num_items = holdout.relevant.num_item_rows - 1
    lines = [
        f"ranking: {len(holdout):,} users, all {num_items:,} items of training except those that the user "
        "has in train or validation; means over users",
        f"relevant: each test item{rated}, {num_relevant:,} in all; {num_cold:,} that training does not know "
        "count as missed",
        f"ties: {TIE_RULE}, seed {task.seed}",
        f"duplicates: {settings.duplicates} when the data was prepared; an item is relevant once to a user, "
        f"and not if train or validation has it, too: {holdout.num_seen_again:,} left out",
    ]
    if task.num_negatives:
        num_short = np.sum(num_items - holdout.rated.counts < task.num_negatives)
        lines.append(
            f"sampled: each relevant item among {task.num_negatives} items that its user rated in no split, "
            f"drawn without repetition, all equally likely, seed {task.seed}"
            + (f" ({num_short:,} users have fewer left)" if num_short else "")
            + "; means over relevant items"
        )
    if task.features is None:
        lines.append("diversity: left out, the items have no list of features such as genres")
    return lines
