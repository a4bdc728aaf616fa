"""The configuration: defaults < recipe < settings; whatever is unknown or out of range is an error."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError
from trainer.config import (
    Config,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    TrainConfig,
    config_from_json,
    make_config,
)
from trainer.config.recipes import RECIPES


def test_a_setting_beats_the_recipe_and_the_recipe_beats_the_default():
    recipes = {"r": {"train.epochs": 7, "train.seed": 8}}
    config = make_config("r", recipes, ["train.seed=9"])
    assert config == Config(recipe="r", train=TrainConfig(epochs=7, seed=9))
    assert TrainConfig().epochs != 7


def test_the_last_of_two_equal_settings_counts():
    assert make_config("article", RECIPES, ["train.epochs=2", "train.epochs=3"]).train.epochs == 3


def test_the_article_recipe_is_the_article():
    config = make_config("article", RECIPES)
    assert config.model == ModelConfig(name="mlp", embedding_dim=5, hidden_units=(128, 32))
    assert config.optimizer == OptimizerConfig(name="adam", learning_rate=1e-3)
    assert (config.train.epochs, config.train.global_batch_size) == (5, 32)
    assert (config.data.split, config.data.test_fraction, config.data.split_seed) == ("random", 0.2, 42)


valid_settings = st.fixed_dictionaries(
    {},
    optional={
        "data.split": st.sampled_from(["random", "u1", "ua"]),
        "data.test_fraction": st.floats(0.01, 0.99),
        "data.format": st.sampled_from(["auto", "ml-1m", "csv", "parquet"]),
        "data.columns": st.sampled_from(["", "user=a b,item=c=d,rating=none"]),
        "data.bad_rows": st.sampled_from(["error", "drop"]),
        "data.users": st.sampled_from(["", "people, all.csv"]),
        "data.min_item_ratings": st.integers(0, 1000),
        "data.fold": st.integers(0, 4),
        "data.split_seed": st.integers(0, 2**32 - 1),
        "model.embedding_dim": st.integers(1, 512),
        "model.hidden_units": st.lists(st.integers(1, 512), min_size=1, max_size=4).map(tuple),
        "optimizer.name": st.sampled_from(["adam", "sgd"]),
        "optimizer.learning_rate": st.floats(1e-9, 10),
        "train.epochs": st.integers(1, 1000),
        "train.seed": st.integers(0, 2**32 - 1),
        "train.precision": st.sampled_from(["auto", "float32", "float64", "mixed_float16"]),
    },
)


def as_text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@given(valid_settings)
def test_a_configuration_survives_command_line_and_json(values):
    config = make_config("article", RECIPES, [f"{key}={as_text(value)}" for key, value in values.items()])
    flat = config.flat()
    assert {key: flat[key] for key in values} == values
    assert config_from_json(config.to_json()) == config
    unchanged = make_config("article", RECIPES).flat()
    assert {key for key in flat if flat[key] != unchanged[key]} <= set(values)


def test_flat_names_every_field_once():
    expected = {"recipe"}
    for part, fields in (
        ("data", DataConfig),
        ("model", ModelConfig),
        ("objective", ObjectiveConfig),
        ("optimizer", OptimizerConfig),
        ("train", TrainConfig),
    ):
        expected |= {f"{part}.{name}" for name in fields.__dataclass_fields__}
    assert set(Config().flat()) == expected


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("train.epoch=3", "unknown setting 'train.epoch'; known: train.epochs, train.max_steps"),
        (
            "trainer.epochs=3",
            "unknown setting 'trainer.epochs'; known: data, model, objective, optimizer, train",
        ),
        ("epochs=3", "unknown setting 'epochs'"),
        ("=3", "unknown setting ''"),
        ("train.=3", "unknown setting 'train.'"),
        ("train.__doc__=3", "unknown setting 'train.__doc__'"),
        ("train.epochs", "a setting has the form part.key=value, got 'train.epochs'"),
        ("train.epochs=three", "train.epochs must be int, got 'three'"),
        ("train.epochs=3.5", "train.epochs must be int, got '3.5'"),
        ("model.name=fm", "model.name must be one of bias, mf, mlp, neumf, wide-deep, two-tower or module:"),
        (
            "objective.name=hinge",
            "objective.name must be one of mse, ordinal, bce, bpr, sampled-softmax, in-",
        ),
        ("objective.negatives=0", "objective.negatives must be at least 1, got 0"),
        ("objective.positive_from=inf", "objective.positive_from must be a number or none, got inf"),
        ("model.bias_l2=-1", "model.bias_l2 must be at least 0, got -1.0"),
        ("train.epochs=", "train.epochs must be int, got ''"),
        ("train.epochs=0", "train.epochs must be at least 1, got 0"),
        ("train.global_batch_size=0", "train.global_batch_size must be at least 1, got 0"),
        ("train.replicas=-1", "train.replicas must be at least 0, got -1"),
        ("train.seed=-1", "train.seed must be at least 0, got -1"),
        ("train.seed=4294967296", "train.seed must be below 4294967296, got 4294967296"),
        ("data.split_seed=4294967296", "data.split_seed must be below 4294967296"),
        (
            "data.format=json",
            "data.format must be one of auto, ml-100k, ml-1m, ml-10m, ml-csv, csv, tsv, parquet",
        ),
        ("data.bad_rows=keep", "data.bad_rows must be one of error, drop, got 'keep'"),
        ("data.duplicates=last", "data.duplicates must be one of keep-last, keep-first, mean, error"),
        ("data.min_user_ratings=-1", "data.min_user_ratings must be at least 0, got -1"),
        ("data.folds=1", "data.folds must be at least 2, got 1"),
        ("data.fold=5", "data.fold must be below data.folds (5), got 5"),
        ("train.precision=float8", "train.precision must be one of auto, float32, float64"),
        ("optimizer.name=lion", "optimizer.name must be one of adam, adagrad, sgd, got 'lion'"),
        ("optimizer.learning_rate=0", "optimizer.learning_rate must be a positive number, got 0.0"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate must be a positive number, got nan"),
        ("optimizer.learning_rate=inf", "optimizer.learning_rate must be a positive number, got inf"),
        ("model.embedding_dim=0", "model.embedding_dim must be at least 1, got 0"),
        ("model.hidden_units=64,0", "model.hidden_units must be at least 1, got 0"),
        ("model.hidden_units=64;32", "model.hidden_units must be whole numbers with commas between"),
    ],
)
def test_a_bad_setting_is_refused_with_rule_and_value(setting, rule):
    with pytest.raises(UserError) as caught:
        make_config("article", RECIPES, [setting])
    assert str(caught.value).startswith(rule)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"recipe must be one of article, .*, got 'articel'"):
        make_config("articel", RECIPES)


def test_a_saved_configuration_with_an_unknown_key_is_refused():
    content = json.loads(Config().to_json())
    content["train"]["warmup"] = 3
    with pytest.raises(UserError, match=r"unknown setting 'train\.warmup'"):
        config_from_json(json.dumps(content))


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"folds": 0}, "data.folds must be at least 2, got 0"),
        ({"split": "k-fold", "folds": 3, "fold": 3}, "data.fold must be below data.folds (3), got 3"),
        ({"split_seed": -1}, "data.split_seed must be at least 0, got -1"),
        ({"split_seed": 1.5}, "data.split_seed must be int, got 1.5"),
        ({"min_item_ratings": True}, "data.min_item_ratings must be int, got True"),
        ({"format": "CSV"}, "data.format must be one of auto, ml-100k, ml-1m, ml-10m, ml-csv, csv"),
        ({"duplicates": "keep_first"}, "data.duplicates must be one of keep-last, keep-first, mean, error"),
        ({"bad_rows": None}, "data.bad_rows must be one of error, drop, got None"),
        ({"test_fraction": 2}, "data.test_fraction must be above 0 and below 1, got 2"),
        ({"validation_fraction": "0.1"}, "data.validation_fraction must be float, got '0.1'"),
        ({"users": ["a.csv"]}, "data.users must be str, got ['a.csv']"),
    ],
)
def test_settings_made_in_python_are_held_to_the_same_rules(settings, rule):
    with pytest.raises(UserError) as caught:
        DataConfig(**settings)
    assert str(caught.value).startswith(rule)
