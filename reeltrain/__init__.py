"""Trains, evaluates and serves recommenders: the verbs of the command line as functions.

    import pandas as pd, reeltrain

    ratings = pd.read_csv("ratings.csv")  # user_id, item_id, rating
    result = reeltrain.train(ratings, recipe="article", workdir="runs/mine")
    print(result.test_rmse)
    reeltrain.recommend(result.run, user_id=196, k=10).items  # a DataFrame

`import reeltrain` imports nothing else. A name is imported when it is first used, so that `reeltrain.prepare`
does not wait for TensorFlow. Where Keras is imported, too, `keras.models.load_model` knows our classes.
"""

from __future__ import annotations

import importlib
import random
from typing import TYPE_CHECKING

from reeltrain._keras import register_with_keras

if TYPE_CHECKING:
    from data_pipeline.config import DataConfig
    from data_pipeline.dataset.dataset import PreparedDataset
    from data_pipeline.dataset.versions import DatasetVersion
    from data_pipeline.errors import UserError
    from reeltrain import layers, optimizers
    from reeltrain.datasets import (
        append,
        check,
        drop_versions,
        open_dataset,
        prepare,
        restore_version,
        versions,
    )
    from reeltrain.runs import evaluate, verify
    from trainer.config import Config, ModelConfig, ObjectiveConfig, OptimizerConfig, TrainConfig
    from trainer.evaluation.evaluate import Evaluation
    from trainer.evaluation.slice_metrics import Recommender
    from trainer.models.inputs import ModelInputs
    from trainer.run.trained_run import Run, load_run
    from trainer.serving.embeddings import embeddings, write_embeddings
    from trainer.serving.predict import predict
    from trainer.serving.recommend import Recommendation, recommend
    from trainer.serving.similar import similar
    from trainer.studies.seeds import Spread
    from trainer.train import TrainResult, train
    from trainer.verification.verify import Verification
    from trainer.workdir.checkpoint_files import SaveError

    __version__: str

# Where each name comes from. The imports above say the same to type checkers; a test compares them.
_MODULES = {
    "Config": "trainer.config",
    "DataConfig": "data_pipeline.config",
    "DatasetVersion": "data_pipeline.dataset.versions",
    "Evaluation": "trainer.evaluation.evaluate",
    "ModelConfig": "trainer.config",
    "ModelInputs": "trainer.models.inputs",
    "ObjectiveConfig": "trainer.config",
    "OptimizerConfig": "trainer.config",
    "PreparedDataset": "data_pipeline.dataset.dataset",
    "Recommendation": "trainer.serving.recommend",
    "Recommender": "trainer.evaluation.slice_metrics",
    "Run": "trainer.run.trained_run",
    "SaveError": "trainer.workdir.checkpoint_files",
    "Spread": "trainer.studies.seeds",
    "TrainConfig": "trainer.config",
    "TrainResult": "trainer.train",
    "UserError": "data_pipeline.errors",
    "Verification": "trainer.verification.verify",
    "append": "reeltrain.datasets",
    "check": "reeltrain.datasets",
    "drop_versions": "reeltrain.datasets",
    "embeddings": "trainer.serving.embeddings",
    "evaluate": "reeltrain.runs",
    "load_run": "trainer.run.trained_run",
    "open_dataset": "reeltrain.datasets",
    "predict": "trainer.serving.predict",
    "prepare": "reeltrain.datasets",
    "recommend": "trainer.serving.recommend",
    "restore_version": "reeltrain.datasets",
    "similar": "trainer.serving.similar",
    "train": "trainer.train",
    "verify": "reeltrain.runs",
    "versions": "reeltrain.datasets",
    "write_embeddings": "trainer.serving.embeddings",
}
_SUBMODULES = ("layers", "optimizers")

__all__ = [
    "Config",
    "DataConfig",
    "DatasetVersion",
    "Evaluation",
    "ModelConfig",
    "ModelInputs",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PreparedDataset",
    "Recommendation",
    "Recommender",
    "Run",
    "SaveError",
    "Spread",
    "TrainConfig",
    "TrainResult",
    "UserError",
    "Verification",
    "append",
    "check",
    "drop_versions",
    "embeddings",
    "evaluate",
    "layers",
    "load_run",
    "open_dataset",
    "optimizers",
    "predict",
    "prepare",
    "recommend",
    "restore_version",
    "similar",
    "train",
    "verify",
    "versions",
    "write_embeddings",
]


# Hidden from type checkers, which would take every name for an attribute.
if not TYPE_CHECKING:

    def _imported(module: str) -> object:
        """Imports a module; TensorFlow draws from `random` at its import, and the caller's numbers stay."""
        before = random.getstate()
        try:
            return importlib.import_module(module)
        finally:
            random.setstate(before)

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            value = getattr(_imported(_MODULES[name]), name)
        elif name in _SUBMODULES:
            value = _imported(f"{__name__}.{name}")
        elif name == "__version__":
            from importlib.metadata import version

            value = version("reeltrain")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


register_with_keras()


def __dir__() -> list[str]:
    return sorted(["__version__", *__all__])
