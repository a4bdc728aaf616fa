"""A configuration from a file: YAML or JSON, between the recipe and --set; whatever is amiss is one line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.open_source import open_source
from trainer.config import (
    RECIPES,
    Config,
    ModelConfig,
    TrainConfig,
    config_from_json,
    make_config,
    read_config,
)
from trainer.config.reference import as_yaml
from trainer.run.data import with_split_of
from trainer.workdir.workdir import Workdir

pytestmark = pytest.mark.usefixtures("sandbox")


def config_of(text, name="run.yaml", recipe=None, settings=()):
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)
    return make_config(recipe, RECIPES, settings, read_config(name))


EXPECTED = Config(
    recipe="mf",
    model=make_config("mf", RECIPES).model,
    optimizer=make_config("mf", RECIPES).optimizer,
    train=TrainConfig(epochs=3, global_batch_size=2048, seed=7),
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.yaml", "recipe: mf\ntrain:\n  epochs: 3\n  seed: 7\n"),
        ("run.yaml", "recipe: mf\ntrain.epochs: 3\ntrain.seed: 7\n"),
        ("run.yaml", "train.epochs: 3\ntrain: {seed: 7}\nrecipe: mf\nmodel:\n"),
        ("run.yaml", "\ufeff%YAML 1.2\n---\n{recipe: mf, train: {epochs: 3, 'seed': 7}}\n...\n"),
        ("run.yml", '{"recipe": "mf", "train": {"epochs": 3, "seed": 7}}'),
        ("run.json", '{"recipe": "mf", "train": {"epochs": 3}, "train.seed": 7}'),
    ],
)
def test_keys_are_nested_or_dotted_in_yaml_and_json(name, text):
    assert config_of(text, name) == EXPECTED


def test_a_mapping_in_python_is_the_same():
    mapping = {"recipe": "mf", "train": {"epochs": 3}, "train.seed": 7}
    assert make_config(None, RECIPES, file=read_config(mapping)) == EXPECTED


def test_a_file_beats_the_recipe_and_a_setting_beats_the_file():
    text = "recipe: mf\ntrain: {epochs: 3, seed: 7}\n"
    config = config_of(text, settings=["train.epochs=4"])
    assert (config.recipe, config.train.epochs, config.train.seed) == ("mf", 4, 7)
    assert config.train.global_batch_size == 2048
    other = config_of(text, recipe="neumf")
    assert (other.recipe, other.model.name, other.train.epochs) == ("neumf", "neumf", 3)
    assert config_of("train.seed: 7\n").recipe == "article"


def test_values_are_read_by_the_rules_of_yaml_1_2():
    config = config_of(
        "optimizer: {learning_rate: 1e-3, weight_decay: 1}\nobjective.positive_from: 4\n"
        "data: {columns: no, users: 2024-01-01, items: 1:30, test_fraction: .5}\n"
    )
    assert config.optimizer.learning_rate == 0.001
    assert (config.objective.positive_from, config.optimizer.weight_decay) == (4.0, 1.0)
    assert config.data == DataConfig(columns="no", users="2024-01-01", items="1:30", test_fraction=0.5)


@pytest.mark.parametrize("widths", ["[]", "none", '"none"'])
@pytest.mark.parametrize("nothing", ["null", "~", "none", ""])
def test_nothing_is_written_as_null_or_none(widths, nothing):
    config = config_of(f"model.hidden_units: {widths}\noptimizer.global_clipnorm: {nothing}\n")
    assert config.model.hidden_units == ()
    assert config.optimizer.global_clipnorm is None


def test_widths_are_a_list_or_a_text_with_commas():
    for text in ("[64, 32]", "64,32", "\n  - 64\n  - 32"):
        assert config_of(f"model.hidden_units: {text}\n").model.hidden_units == (64, 32)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["null", "~", "no", "1e-3", "0x1", ".inf", "a: b", "# c", "- d", "'", '"', "\\", "a,b", " ", "true", "*a"]
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "data.columns": texts,
            "data.users": texts,
            "data.test_fraction": st.floats(1e-12, 0.99),
            "model.hidden_units": st.lists(st.integers(1, 512), max_size=3).map(tuple),
            "model.name": st.sampled_from(["mf", "package.module:Class.function", "m:<lambda>"]),
            "objective.positive_from": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "optimizer.learning_rate": st.floats(5e-324, 1e300),
            "train.seed": st.integers(0, 2**32 - 1),
        },
    ),
    st.sampled_from(list(RECIPES)),
)
def test_what_config_prints_is_taken_back_as_it_was(values, recipe):
    config = make_config(recipe, RECIPES, file=read_config(values))
    assert {key: config.flat()[key] for key in values} == values
    assert config_of(as_yaml(config)) == config
    assert config_of(config.to_json(), "run.json") == config


def test_the_verb_config_prints_what_train_takes(run, sandbox):
    settings = ("--recipe", "neumf", "--set", "train.epochs=7", "--set", "data.columns=user=a b")
    expected = make_config("neumf", RECIPES, settings[3::2])
    status, out, err = run("config", *settings)
    assert (status, err) == (0, "")
    (sandbox / "run.yaml").write_text(out)
    assert make_config(None, RECIPES, file=read_config("run.yaml")) == expected
    assert run("config", "--config", "run.yaml")[1] == out
    status, out, err = run("config", "--json", "--config", "run.yaml")
    assert config_from_json(out) == expected
    assert out.count("\n") == 1 + json.dumps(json.loads(out), indent=2).count("\n")


def test_every_setting_has_its_text_and_range_above_it(run):
    lines = run("config")[1].splitlines()
    at = lines.index("  epochs: 5")
    assert lines[at - 2 : at] == ["  # Passes over the training rows.", "  # [int, at least 1; default: 5]"]


def begun_run(folder, config):
    dataset = prepare_dataset(open_source("good.csv", config.data), config.data, folder / "dataset")
    workdir = Workdir(folder)
    workdir.start(config, dataset, precision="float32")
    return workdir


def test_a_runs_config_json_is_such_a_file(sandbox):
    config = make_config("mf", RECIPES, ["train.epochs=3", "model.hidden_units=none"])
    workdir = begun_run(sandbox / "run", config)
    assert make_config(None, RECIPES, file=read_config(workdir.config_file)) == config
    assert make_config(None, RECIPES, ["train.epochs=4"], read_config(workdir.config_file)).train.epochs == 4


def test_a_stored_configuration_without_the_newest_keys_is_still_read():
    content = json.loads(Config().to_json())
    del content["train"]["keep_checkpoints"], content["model"]["tables"], content["data"]["bad_rows"]
    assert config_from_json(json.dumps(content)) == Config()


@pytest.mark.parametrize("key", ["train.warmup", "extra"])
@pytest.mark.parametrize("verb", [("evaluate", "run"), ("config", "--config", "run/config.json")])
def test_a_configuration_of_a_newer_version_is_refused_in_one_line(run, sandbox, key, verb):
    file = begun_run(sandbox / "run", Config()).config_file
    content = json.loads(file.read_text())
    part, _, name = key.partition(".")
    content["config"].setdefault(part, {})[name or "x"] = 1
    file.write_text(json.dumps(content))
    status, out, err = run(*verb)
    assert (status, out) == (2, "")
    rule = "the configuration is of a newer version of reeltrain, this is "
    assert err.startswith(f"reeltrain: run/config.json: unknown setting '{key}': {rule}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("config", [[], "x", {"train": 3}, {"train": {}, "model": []}, None])
def test_a_stored_configuration_that_is_none_is_refused_in_one_line(run, sandbox, config):
    file = begun_run(sandbox / "run", Config()).config_file
    content = json.loads(file.read_text()) | {"config": config}
    file.write_text(json.dumps(content))
    status, _, err = run("evaluate", "run")
    assert status == 2
    assert err.startswith("reeltrain: run/config.json: a configuration ")
    assert err.count("\n") == 1


def test_the_split_of_a_prepared_dataset_may_be_in_the_file_but_no_other(sandbox):
    config = make_config("article", RECIPES, ["data.split=per-user"])
    dataset = prepare_dataset(open_source("good.csv", config.data), config.data, sandbox / "prepared")
    whole = config_of(as_yaml(config))
    assert with_split_of(dataset, whole, [], read_config("run.yaml")) == config
    other = config_of("data.split: random\n")
    with pytest.raises(UserError) as caught:
        with_split_of(dataset, other, [], read_config("run.yaml"))
    rule = (
        f"{dataset.path} is prepared with data.split=per-user, its split is fixed: 'data.split=random' of the"
    )
    assert str(caught.value).startswith(rule)


@pytest.mark.slow
def test_train_takes_a_file_and_a_runs_own_config_json(run, sandbox):
    (sandbox / "run.yaml").write_text("recipe: mf\nmodel.embedding_dim: 3\ntrain: {epochs: 2}\n")
    status, out, err = run("train", "good.csv", "--config", "run.yaml", "--workdir", "run", "--json")
    assert status == 0, err
    assert json.loads(out)["recipe"] == "mf"
    stored, _ = Workdir(sandbox / "run").read()
    assert (stored.model, stored.train.epochs) == (
        ModelConfig(**vars(EXPECTED.model) | {"embedding_dim": 3}),
        2,
    )
    again = ("train", "good.csv", "--config", "run/config.json", "--set", "train.epochs=3")
    status, out, err = run(*again, "--workdir", "run", "--json")
    assert status == 0, err
    assert "resumed   at step" in err
    assert Workdir(sandbox / "run").read()[0].train.epochs == 3
