"""The reference judges errors by scikit-learn, not by what it is there to verify."""

import sys

import numpy as np
import pytest

from data_pipeline.dataset.dataset import open_dataset
from support import runs
from trainer.config import RECIPES, make_config
from trainer.evaluation import rating_metrics
from trainer.verification import reference
from trainer.verification.verify import initial_weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    path = runs.prepare_generated(folder / "dataset", num_train=64, num_validation=16)
    dataset = open_dataset(path)
    config = make_config("article", RECIPES, ["train.epochs=1", "train.precision=float64"])
    return config, dataset, initial_weights(config, dataset)


def test_errors_are_those_of_the_definition_after_clipping(trained):
    config, dataset, weights = trained
    weights = weights | {"rating/bias": weights["rating/bias"] + 4.99}  # some predictions are above the scale
    found = reference._errors(weights, config.model, dataset, "test")
    rows = dataset.columns("test")
    items, users = weights["item_embedding/embeddings"], weights["user_embedding/embeddings"]
    x = np.concatenate([items[rows.item_index], users[rows.user_index]], axis=1)
    for layer in ("hidden_1", "hidden_2"):
        x = np.maximum(x @ weights[f"{layer}/kernel"] + weights[f"{layer}/bias"], 0)
    predicted = (x @ weights["rating/kernel"] + weights["rating/bias"])[:, 0]
    assert (predicted > dataset.rating_scale[1]).any()
    error = np.clip(predicted, *dataset.rating_scale) - rows.rating
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-14)
    assert found["mae"] == pytest.approx(np.mean(np.abs(error)), rel=1e-14)


def test_a_fault_in_our_errors_does_not_reach_the_reference(trained, monkeypatch):
    def wrong(*_arguments, **_options):
        raise AssertionError("the reference uses what it verifies")

    monkeypatch.setattr(rating_metrics, "rating_errors", wrong)
    monkeypatch.setattr(reference, "rating_errors", wrong, raising=False)
    assert "test/rmse at step 2" in reference.train_reference(*trained).metrics


def test_scikit_learn_is_found_where_the_command_line_hides_it_from_keras(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "test/mae at step 2" in reference.train_reference(*trained).metrics
