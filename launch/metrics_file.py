"""All metrics of an evaluation as one table in long form: as rows, and as a CSV, Parquet or JSON file."""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from data_pipeline.files import replaced_file

if TYPE_CHECKING:
    from trainer.evaluation.evaluate import Evaluation


class Metric(NamedTuple):
    """One value.

    Attributes:
        slice: `all`, `warm`, `cold_users` or `cold_items`.
        recommender: `model` or a baseline.
        metric: as in the JSON output, such as `rmse` or `ndcg@10`.
        value: the mean over seeds, where there are several.
        sd: standard deviation (n - 1) over seeds; 0 for a baseline that no seed changes; None for one seed.
    """

    slice: str
    recommender: str
    metric: str
    value: float
    sd: float | None


def metrics_of(evaluations: Sequence[Evaluation]) -> list[Metric]:
    """Every metric of every recommender in every slice, over the evaluations of one or several seeds.

    Baselines that are not trained are in the first evaluation only. A metric that a recommender lacks with
    some seed is left out.
    """
    from statistics import fmean, stdev  # 20 ms, which --help would wait for

    values: dict[tuple[str, str, str], list[float]] = {}
    num_found: dict[tuple[str, str], int] = defaultdict(int)
    for evaluation in evaluations:
        slices = {"all": {"model": evaluation.test, **evaluation.baselines}, **evaluation.slices}
        for name, recommenders in slices.items():
            for recommender, metrics in recommenders.items():
                num_found[name, recommender] += 1
                for metric, value in metrics.items():
                    values.setdefault((name, recommender, metric), []).append(value)

    def sd(each: Sequence[float]) -> float | None:
        if len(evaluations) == 1:
            return None
        return stdev(each) if len(each) > 1 else 0.0

    return [
        Metric(*key, fmean(each), sd(each)) for key, each in values.items() if len(each) == num_found[key[:2]]
    ]


def write_metrics(path: Path, metrics: Sequence[Metric]) -> None:
    """Writes the table in the format of the file's suffix; after a crash the file is complete or absent."""
    with replaced_file(path) as partial:
        _WRITERS[path.suffix.lower()](partial, metrics)


def _write_csv(path: Path, metrics: Sequence[Metric]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Metric._fields)
        writer.writerows(metrics)


def _write_json(path: Path, metrics: Sequence[Metric]) -> None:
    lines = (json.dumps(metric._asdict(), allow_nan=False) for metric in metrics)
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def _write_parquet(path: Path, metrics: Sequence[Metric]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = [pa.string(), pa.string(), pa.string(), pa.float64(), pa.float64()]
    schema = pa.schema(list(zip(Metric._fields, types, strict=True)))
    pq.write_table(pa.Table.from_pylist([metric._asdict() for metric in metrics], schema), path)


_WRITERS: dict[str, Callable[[Path, Sequence[Metric]], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".json": _write_json,
}


class MetricsPath(click.ParamType):
    """A file that `write_metrics` can write, checked before anything is computed."""

    name = "FILE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(str(value))
        for problem in self._problems(path):
            self.fail(problem, param, ctx)
        return path

    def _problems(self, path: Path) -> Iterator[str]:
        if path.suffix.lower() not in _WRITERS:
            yield f"the file must end in .csv, .parquet or .json, got {path}"
        if not path.parent.is_dir():
            yield f"the file must be in an existing folder, got {path}"
        if path.is_dir():
            yield f"must be a file, got the folder {path}"
        if not os.access(path.parent, os.W_OK):
            yield f"the file must be in a writable folder, got {path}"
