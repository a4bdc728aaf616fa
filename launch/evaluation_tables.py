"""An evaluation as text: the metrics that people look at on one screen, or all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from launch.metrics_file import Metric, metrics_of
from launch.tables import table, wrapped

if TYPE_CHECKING:
    from data_pipeline.dataset.dataset import PreparedDataset
    from trainer.evaluation.evaluate import Evaluation
    from trainer.studies.seeds import Spread

HEADS = {"rmse": "RMSE", "mae": "MAE", "ndcg": "NDCG", "hr": "HR", "map": "MAP", "mrr": "MRR", "gini": "Gini"}
NAMES = {"global_mean": "global mean", "user_item_bias": "user + item bias"}

# On one screen, at k = 10 if possible. NDCG weighs positions, recall is the share of relevant items found, HR
# is what many papers report, and coverage is low if only popular items are ranked high. MRR and MAP mostly
# order recommenders as NDCG does.
ERRORS = ("rmse", "mae")
RANKING_SHOWN = ("ndcg", "recall", "hr", "coverage")
# "mean +- sd" is twice as wide.
MAX_COLUMNS_WITH_SD = 4
SHOWN_K = 10
# Columns in which the best value is marked. More coverage is not better by itself.
LOWER_IS_BETTER = ("rmse", "mae")
HIGHER_IS_BETTER = ("ndcg", "recall", "hr")

# The protocol has a line for each of these that was left out.
LARGE_BASELINES = ("ease", "mf", "mf-ranking")

RANKING = ("ndcg", "recall", "precision", "hr", "map", "mrr", "coverage", "gini", "novelty", "diversity")


def screen(
    evaluations: Sequence[Evaluation],
    dataset: PreparedDataset,
    *,
    is_ranking: bool,
    positive_from: float | None,
) -> str:
    """At most 24 lines of 100 columns: protocol, the model and the baselines, cold users and items.

    Args:
        evaluations: one per seed.
        is_ranking: whether the run has a ranking objective, and so no ratings.
        positive_from: the lowest rating of a relevant item, or None.
    """
    first = evaluations[0]
    k = SHOWN_K if SHOWN_K in first.ks else _middle(first.ks)
    metrics = metrics_of(evaluations)
    protocol = [*_protocol(first, dataset, positive_from), *_left_out(first), *_seeds(evaluations)]
    notes = [
        *wrapped(_cold_start(metrics, first.counts, f"ndcg@{k}" if is_ranking else "rmse")),
        "* best of its column; --full prints more metrics and the protocol; --out FILE writes all metrics",
    ]
    return "\n\n".join(
        ["\n".join(protocol), _shown_table(metrics, k, is_ranking=is_ranking), "\n".join(notes)]
    )


def _protocol(first: Evaluation, dataset: PreparedDataset, positive_from: float | None) -> list[str]:
    """Split and rows; how rankings, or ratings alone, were measured."""
    from data_pipeline.dataset.summary import judged_line, protocol

    rows = [*wrapped(protocol(dataset).partition("; ")[0]), judged_line(dataset)]
    users = first.counts["all"].get("users")
    if users is None:
        low, high = dataset.rating_scale
        return [*rows, f"ratings: predictions clipped to [{low:g}, {high:g}]; no rankings"]
    relevant = "test items" if positive_from is None else f"test items rated >= {positive_from:g}"
    ranking = (
        f"ranking: {users:,} users, all {len(dataset.items):,} training items that they have not rated; "
        f"relevant: {relevant}"
    )
    return [*rows, *wrapped(ranking)]


def _left_out(first: Evaluation) -> list[str]:
    """Why a baseline is not in the table: it would take too long."""
    lines = first.protocol.splitlines()
    return [each for line in lines if line.partition(":")[0] in LARGE_BASELINES for each in wrapped(line)]


def _seeds(evaluations: Sequence[Evaluation]) -> list[str]:
    if len(evaluations) == 1:
        return []
    return [f"training seeds 0 to {len(evaluations) - 1}, the same split: mean +- standard deviation (n - 1)"]


def _shown_table(metrics: Sequence[Metric], k: int, *, is_ranking: bool) -> str:
    """The model's row first, the best values marked."""
    found = {(each.recommender, each.metric): each for each in metrics if each.slice == "all"}
    keys = [*(() if is_ranking else ERRORS), *(f"{name}@{k}" for name in RANKING_SHOWN)]
    keys = [key for key in keys if any(metric == key for _, metric in found)]
    if any(each.sd for each in metrics):
        keys = keys[:MAX_COLUMNS_WITH_SD]
    names = [
        name for name in dict.fromkeys(name for name, _ in found) if any((name, key) in found for key in keys)
    ]
    columns, bold = [], []
    for index, key in enumerate(keys, start=1):
        column = [found.get((name, key)) for name in names]
        best = _best(key, [each.value for each in column if each is not None])
        is_best = [each is not None and f"{each.value:.4f}" == best for each in column]
        bold += [(row, index) for row, marked in enumerate(is_best) if marked]
        columns.append(_cells(column, is_best))
    rows = list(zip([NAMES.get(name, name) for name in names], *columns, strict=True))
    return table(["", *map(head, keys)], rows, left=range(len(keys) + 1), bold=bold)


def _best(key: str, values: Sequence[float]) -> str | None:
    """The best value as it is shown; None where no value is better than another by itself."""
    name = key.partition("@")[0]
    if name in LOWER_IS_BETTER:
        return f"{min(values):.4f}"
    return f"{max(values):.4f}" if name in HIGHER_IS_BETTER else None


def _cells(column: Sequence[Metric | None], is_best: Sequence[bool]) -> list[str]:
    """`mean`, or `mean +- sd` where seeds make a difference, all means aligned."""
    width = max(len(f"{each.value:.4f}") for each in column if each is not None)
    cells = []
    for each, marked in zip(column, is_best, strict=True):
        value = "-" if each is None else f"{each.value:.4f}"
        sd = f" +- {each.sd:.4f}" if each is not None and each.sd else ""
        cells.append(value.rjust(width) + sd + "*" * marked)
    return cells


def _cold_start(metrics: Sequence[Metric], counts: Mapping[str, Mapping[str, int]], key: str) -> str:
    """How many test rows have a user or an item that training does not have, and the model's metric there."""
    found = {each.slice: each.value for each in metrics if (each.recommender, each.metric) == ("model", key)}
    parts = []
    for name, unknown in (("cold_users", "an unknown user"), ("cold_items", "an unknown item")):
        rows = counts[name]["rows"]
        # A ranking never has an unknown item, so its metric is 0 by definition.
        has_value = rows and name in found and not (key.startswith("ndcg") and name == "cold_items")
        value = f" ({head(key)} {found[name]:.4f})" if has_value else ""
        parts.append(f"{rows:,} have {unknown}{value}")
    return f"cold start: of {counts['all']['rows']:,} test rows, {', '.join(parts)}"


def _middle(ks: Sequence[int]) -> int:
    return ks[len(ks) // 2]


def head(key: str) -> str:
    """A metric's key as a column's head.

    >>> head("sampled/ndcg@10")
    'sampled NDCG@10'
    """
    metric, _, k = key.removeprefix("sampled/").partition("@")
    prefix = "sampled " if key.startswith("sampled/") else ""
    return prefix + HEADS.get(metric, metric) + (f"@{k}" if k else "")


def full(result: Evaluation) -> str:
    """The whole protocol, the metrics of the model and the baselines at every k, and the slices at one k.

    Each list of the sampled protocol has one relevant item, so recall equals HR, MAP equals MRR and precision
    is HR / k: they are not printed.
    """
    ks = result.ks
    rows = {"model": result.test, **result.baselines}
    blocks = [result.protocol, _block("ratings", rows, ["rmse", "mae"])]
    for k in ks:
        blocks.append(_block(f"all unseen items, k = {k}", rows, [f"{metric}@{k}" for metric in RANKING]))
    sampled = [f"sampled/{metric}@{k}" for k in ks for metric in ("ndcg", "hr")]
    blocks.append(_block("sampled", rows, [*sampled, f"sampled/mrr@{ks[-1]}"], with_k=True))
    # Slices at one k: --json and --out have all.
    keys = ["rmse", "mae", *(f"{metric}@{_middle(ks)}" for metric in RANKING[:6])]
    for name, metrics in result.slices.items():
        counts = ", ".join(f"{count:,} {what}" for what, count in result.counts[name].items())
        title = f"{name.replace('_', ' ')}: {counts}"
        blocks.append(_block(title, metrics, keys) or title)
    return "\n\n".join(block for block in blocks if block)


def full_spread(spread: Spread) -> str:
    """The whole protocol, and mean +- standard deviation over seeds of all metrics at one k."""
    first = spread.evaluations[0]
    seeds = f"seeds {spread.seeds[0]} to {spread.seeds[-1]} of training, the split stays; mean +- sd (n - 1)"
    k = _middle(first.ks)
    ranking = [f"{metric}@{k}" for metric in RANKING]
    blocks = [f"{first.protocol}\n{seeds}"]
    for keys in (["rmse", "mae"], ranking[:5], ranking[5:], [f"sampled/ndcg@{k}", f"sampled/hr@{k}"]):
        keys = [key for key in keys if any(key in metrics for metrics in spread.mean.values())]
        rows = []
        for name, means in spread.mean.items():
            cells = [_with_sd(means[key], spread.sd[name][key]) if key in means else "-" for key in keys]
            if any(key in means for key in keys):
                rows.append([name, *cells])
        if rows:
            blocks.append(table(["", *map(head, keys)], rows, left=range(len(keys) + 1)))
    return "\n\n".join(blocks)


def _with_sd(mean: float, sd: float) -> str:
    """A baseline that no seed changes has no spread."""
    return f"{mean:7.4f} +- {sd:.4f}" if sd else f"{mean:7.4f}"


def _block(
    title: str, rows: Mapping[str, Mapping[str, float]], keys: Sequence[str], *, with_k: bool = False
) -> str:
    """Title and table of the keys that some row has; empty if none has any."""
    keys = [key for key in keys if any(key in metrics for metrics in rows.values())]
    if not keys:
        return ""
    heads = [head(key).removeprefix("sampled ") for key in keys]
    cells = [
        [name, *(f"{metrics[key]:.4f}" if key in metrics else "-" for key in keys)]
        for name, metrics in rows.items()
        if any(key in metrics for key in keys)
    ]
    return f"{title}\n" + table(
        ["", *(heads if with_k else [each.partition("@")[0] for each in heads])], cells
    )
