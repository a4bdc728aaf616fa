"""Results as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.evaluation.evaluate import Evaluation
    from trainer.studies.seeds import Spread

RANKING = ("ndcg", "recall", "precision", "hr", "map", "mrr", "coverage", "gini", "novelty", "diversity")
HEADS = {"rmse": "RMSE", "mae": "MAE", "ndcg": "NDCG", "hr": "HR", "map": "MAP", "mrr": "MRR", "gini": "Gini"}


def table(result: Evaluation) -> str:
    """What a person reads: the model beside the baselines, metric by metric; then the slices."""
    ks = result.ks
    rows = {"model": result.test, **result.baselines}
    lines = [*result.protocol.splitlines(), "", *_block("ratings", rows, ["rmse", "mae"])]
    for k in ks:
        lines += _block(f"all unseen items, k = {k}", rows, [f"{metric}@{k}" for metric in RANKING])
    sampled = [f"sampled/{metric}@{k}" for k in ks for metric in ("ndcg", "hr")]
    lines += _block("sampled", rows, [*sampled, f"sampled/mrr@{ks[-1]}"], with_k=True)
    # Slices at one k, the middle one: all are in the JSON object.
    k = ks[len(ks) // 2]
    keys = ["rmse", "mae", *(f"{metric}@{k}" for metric in RANKING[:6])]
    for name, metrics in result.slices.items():
        counts = ", ".join(f"{count:,} {what}" for what, count in result.counts[name].items())
        title = f"{name.replace('_', ' ')}: {counts}"
        lines += _block(title, metrics, keys) or [title, ""]
    return "\n".join(lines).rstrip()


def spread_table(spread: Spread) -> str:
    """The same over seeds: mean +- standard deviation, metric by metric."""
    ks = spread.evaluations[0].ks
    seeds = f"seeds {spread.seeds[0]} to {spread.seeds[-1]} of training, the split stays; mean +- sd (n - 1)"
    lines = [*spread.evaluations[0].protocol.splitlines(), seeds, ""]
    k = ks[len(ks) // 2]
    ranking = [f"{metric}@{k}" for metric in RANKING]
    for keys in (["rmse", "mae"], ranking[:5], ranking[5:], [f"sampled/ndcg@{k}", f"sampled/hr@{k}"]):
        keys = [key for key in keys if any(key in metrics for metrics in spread.mean.values())]
        if not keys:
            continue
        lines.append(f"{'':16}" + "".join(f"{_head(key):>18}" for key in keys))
        for name, means in spread.mean.items():
            cells = [
                _with_sd(means[key], spread.sd[name][key]) if key in means else f"{'-':>18}" for key in keys
            ]
            if any(key in means for key in keys):
                lines.append(f"{name:16}" + "".join(cells))
        lines.append("")
    return "\n".join(lines).rstrip()


def _with_sd(mean: float, sd: float) -> str:
    """18 characters; what no seed changes has no spread."""
    return f"{mean:9.4f} +-{sd:7.4f}" if sd else f"{mean:9.4f}{'':9}"


def _head(key: str) -> str:
    metric, _, k = key.removeprefix("sampled/").partition("@")
    prefix = "sampled " if key.startswith("sampled/") else ""
    return prefix + HEADS.get(metric, metric) + (f"@{k}" if k else "")


def _block(
    title: str, rows: Mapping[str, Mapping[str, float]], keys: Sequence[str], *, with_k: bool = False
) -> list[str]:
    """A table of those keys and rows that there are, under its title."""
    keys = [key for key in keys if any(key in metrics for metrics in rows.values())]
    if not keys:
        return []
    heads = [_head(key).removeprefix("sampled ") for key in keys]
    heads = heads if with_k else [head.partition("@")[0] for head in heads]
    lines = [title, f"{'':16}" + "".join(f"{head:>10}" for head in heads)]
    for name, metrics in rows.items():
        if any(key in metrics for key in keys):
            cells = [f"{metrics[key]:10.4f}" if key in metrics else f"{'-':>10}" for key in keys]
            lines.append(f"{name:16}" + "".join(cells))
    return [*lines, ""]
