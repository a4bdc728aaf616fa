"""`verify` passes if all layouts agree, and fails for every planted fault."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.dataset.dataset import open_dataset
from data_pipeline.errors import UserError
from data_pipeline.sources.generated import generate_ratings
from support import faulty, runs
from trainer.config import make_config
from trainer.config.recipes import RECIPES
from trainer.verification.comparison import compare
from trainer.verification.layouts import Layout, Outcome
from trainer.verification.subset import prepare_subset
from trainer.verification.verify import verify

FAULTY = Path(faulty.__file__)
TWO_REPLICAS = Layout(workers=1, replicas=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return runs.prepare_generated(tmp_path_factory.mktemp("verify") / "dataset", num_train=1200)


@pytest.mark.slow
def test_layouts_that_agree_pass(dataset, run_cli):
    arguments = ("--replicas", "1,2", "--workers", "1,2", "--steps", 20, "--set", "train.seed=5")
    result = json.loads(run_cli("verify", dataset, *arguments, "--json", python=runs.python()).stdout)
    assert result["passed"] is True
    assert {"tolerance", "steps", "precision", "recipe", "covered"} < set(result)
    assert (result["steps"], result["precision"], result["tolerance"]) == (20, "float64", 1e-10)
    assert [(layout["name"], layout["against"]) for layout in result["layouts"]] == [
        ("single device", "NumPy"),
        ("2 replicas", "single device"),
        ("2 workers", "single device"),
    ]
    assert [(layout["workers"], layout["replicas"]) for layout in result["layouts"]] == [
        (1, 1),
        (1, 2),
        (2, 1),
    ]
    for what in ("loss", "weight", "metric"):
        differences = [layout[f"{what}_difference"] for layout in result["layouts"]]
        assert result[f"max_{what}_difference"] == max(differences) <= 1e-10
    assert all(layout["passed"] for layout in result["layouts"])


@pytest.mark.slow
def test_a_difference_over_the_tolerance_fails_with_the_table_and_one_line(dataset, run_cli):
    arguments = ("--replicas", "1", "--steps", 4, "--precision", "float32", "--tolerance", 0)
    done = run_cli("verify", dataset, *arguments, check=False, python=runs.python())
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith("reeltrain: single device: ")
    assert "tolerance 0" in last


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("shift_one_replicas_batch", "loss differs by "),
        ("reduce_nothing", "loss differs by "),
        ("fail_on_replicas", "ended with status 1: RuntimeError: no such strategy here"),
    ],
)
def test_a_planted_fault_fails_and_is_named(dataset, fault, failure):
    result = verify(
        dataset,
        recipe="article",
        settings=["train.seed=5"],
        replicas=[2],
        workers=[1],
        precision="float64",
        steps=6,
        command=(str(runs.python()), str(FAULTY), fault),
    )
    assert not result.passed
    single, replicas = result.comparisons
    assert single.failure is None
    assert replicas.failure.startswith(failure)
    assert result.fields()["layouts"][1]["passed"] is False
    assert result.first_failure.startswith("2 replicas: ")
    json.dumps(result.fields(), allow_nan=False)


EVERYTHING = [
    "train.global_batch_size=64",
    "train.accumulation_steps=2",
    "model.dropout=0.3",
    "model.embedding_l2=0.01",
    "optimizer.weight_decay=0.01",
    "optimizer.global_clipnorm=0.5",
]


@pytest.fixture(scope="module")
def weighted_csv(tmp_path_factory):
    """Ratings with weights 0 to 3."""
    ratings = generate_ratings(num_users=100, num_items=80, num_ratings=2000, seed=11)
    rows = ratings.table.to_pylist()
    lines = [f"{r['user_id']},{r['item_id']},{r['rating']},{i % 4}" for i, r in enumerate(rows)]
    path = tmp_path_factory.mktemp("weighted") / "ratings.csv"
    path.write_text("\n".join(["user_id,item_id,rating,weight", *lines]) + "\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "workers"),
    [
        (["model.tables=sparse", "optimizer.name=adam"], [1, 2]),
        (["model.tables=sparse", "optimizer.name=adagrad"], [1]),
        (["model.tables=sparse", "optimizer.name=sgd", "optimizer.momentum=0.9"], [1]),
        (["model.tables=dense", "optimizer.name=adam"], [1]),
    ],
    ids=["lazy adam", "row-wise adagrad", "lazy momentum", "dense adam"],
)
def test_steps_with_all_features_agree_on_all_layouts_and_with_numpy(weighted_csv, settings, workers):
    result = verify(
        weighted_csv,
        recipe="article",
        settings=EVERYTHING + settings,
        replicas=[2, 4] if len(workers) > 1 else [2],
        workers=workers,
        precision="float64",
        steps=12,
        command=(str(runs.python()), "-m", "launch.main"),
    )
    assert result.first_failure is None
    expected = {"weights", "L2", "dropout", "weight decay", "global-norm clipping", "gradient accumulation"}
    assert expected <= set(result.covered)
    assert ("sparse tables" in result.covered) == ("model.tables=sparse" in settings)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", "3"], "steps must be an even number of at least 2, for 2 epochs, got 3"),
        (["--replicas", "1,0"], "--replicas must be integers of at least 1"),
        (["--workers", "two"], "--workers must be integers of at least 1"),
        (["--replicas", "3"], "train.global_batch_size (32) must be a multiple of the replicas"),
        (["--precision", "half"], "'half'"),
        (["--tolerance", "nan"], "--tolerance must be at least 0 and finite, got nan"),
        (["--set", "train.epochs=3"], "got 'train.epochs=3'"),
        (["--set", "data.split_seed=1"], "is prepared, its split is fixed: 'data.split_seed=1'"),
        (["--steps", "1000"], "1000 steps of 32 rows need 16,377 ratings, got 1,200"),
    ],
)
@pytest.mark.slow
def test_a_wrong_argument_is_reported_in_one_line(dataset, run_cli, arguments, said):
    done = run_cli("verify", dataset, *arguments, check=False, python=runs.python())
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr.splitlines()[-1]


def outcome(**changes):
    values = {
        "losses": {1: 2.0, 2: 1.0},
        "variables": {"w": np.ones(3), "slot": np.zeros(3)},
        "metrics": {"train_loss": 1.5},
    }
    return Outcome(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"losses": {1: 2.0, 2: 1.1}}, "loss differs by 0.1, tolerance 0.001, first at step 2"),
        ({"losses": {1: float("nan"), 2: 1.0}}, "loss is not finite, first at step 1"),
        ({"losses": {1: 2.0}}, "no loss for step 2; only one of them has the loss 2"),
        ({"variables": {"w": np.ones(3)}}, "only one of them has the weight slot"),
        ({"variables": {"w": np.ones(3), "slot": np.zeros(4)}}, "weight slot has 4 values, not 3"),
        (
            {"variables": {"w": np.ones(3), "slot": np.array([0, 0, 0.5])}},
            "weight differs by 0.5, tolerance 0.001, first at slot",
        ),
        ({"metrics": {"train_loss": 1.6}}, "metric differs by 0.1, tolerance 0.001, first at train_loss"),
    ],
)
def test_a_difference_fails_and_is_named(changes, failure):
    compared = compare(TWO_REPLICAS, outcome(**changes), "single device", outcome(), 1e-3, 2)
    assert compared.failure == failure


def test_a_loss_that_is_missing_or_not_finite_in_both_fails_too():
    same = outcome(losses={1: 2.0})
    assert compare(TWO_REPLICAS, same, "single device", same, 1e-3, 2).failure == "no loss for step 2"
    same = outcome(losses={1: 2.0, 2: float("inf")})
    assert "not finite" in compare(TWO_REPLICAS, same, "single device", same, 1e-3, 2).failure


def test_equal_outcomes_pass():
    compared = compare(TWO_REPLICAS, outcome(), "single device", outcome(), 1e-3, 2)
    assert compared.failure is None
    assert (compared.loss_difference, compared.weight_difference, compared.metric_difference) == (0, 0, 0)


@pytest.mark.parametrize("batch", [1, 2, 5, 32])
def test_the_subset_has_two_epochs_whose_last_batch_leaves_a_replica_empty(dataset, tmp_path, batch):
    config = make_config("article", RECIPES, [f"train.global_batch_size={batch}"])
    paths = [tmp_path / "one", tmp_path / "two"]
    one, two = (prepare_subset(dataset, config, [], path, epochs=2, steps=12) for path in paths)
    assert one.fingerprint == two.fingerprint == open_dataset(paths[0]).fingerprint
    full, last = divmod(one.num_rows("train"), batch)
    assert full + (last > 0) == 6
    assert batch == 1 or 0 < last <= batch / 2


def test_layouts_are_compared_also_for_a_model_without_reference(dataset, monkeypatch):
    monkeypatch.setattr("trainer.verification.reference.knows", lambda _config: False)
    monkeypatch.setattr("trainer.verification.verify.run_layout", lambda *_args, **_kwargs: outcome())
    result = verify(
        dataset,
        recipe="article",
        settings=[],
        replicas=[2],
        workers=[1],
        precision="float64",
        steps=2,
        command=(),
    )
    assert [comparison.name for comparison in result.comparisons] == ["2 replicas"]
    assert "no reference for model mlp" in result.no_reference
    assert result.passed


def test_settings_that_verify_sets_itself_are_refused():
    with pytest.raises(UserError, match=r"itself, got 'train.replicas=2'"):
        verify(
            None,
            recipe="article",
            settings=["train.replicas=2"],
            replicas=[1],
            workers=[1],
            precision="float64",
            steps=2,
            command=(),
        )
