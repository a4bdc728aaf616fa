"""reeltrain in a notebook: the command line's verbs as functions.

import pandas as pd, reeltrain
ratings = pd.read_csv("ratings.csv")                      # user_id, item_id, rating
result = reeltrain.train(ratings, recipe="article", workdir="runs/mine")
print(result.test_rmse)
reeltrain.recommend(result.run, user_id=196, k=10).items  # a DataFrame
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data_pipeline.config import DataConfig
from data_pipeline.dataset.dataset import PreparedDataset
from data_pipeline.errors import UserError
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.open_source import open_source
from trainer.evaluation.evaluate import Evaluation, evaluate
from trainer.run.trained_run import Run, load_run
from trainer.serving.predict import predict
from trainer.serving.recommend import Recommendation, recommend
from trainer.train import TrainResult, train

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DataConfig",
    "Evaluation",
    "PreparedDataset",
    "Recommendation",
    "Run",
    "TrainResult",
    "UserError",
    "evaluate",
    "load_run",
    "predict",
    "prepare",
    "recommend",
    "train",
]


def prepare(
    data: str | Path | pd.DataFrame | None, out: str | Path, config: DataConfig | None = None
) -> PreparedDataset:
    """Splits and indexes ratings into a prepared dataset, a new folder `out` that `train` takes as data."""
    config = config or DataConfig()
    return prepare_dataset(open_source(data, config), config, Path(out))
