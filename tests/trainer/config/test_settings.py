"""Settings are declared once: every bound holds from the command line, from YAML and from Python alike."""

import dataclasses
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.config import DataConfig, data_config
from data_pipeline.errors import UserError
from data_pipeline.settings import unknown_setting
from trainer.config import (
    PARTS,
    RECIPES,
    SETTINGS,
    Config,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    TrainConfig,
    make_config,
    read_config,
)
from trainer.config.parse import setting_texts
from trainer.config.reference import settings_page

PROJECT = Path(__file__).resolve().parents[3]
COUNT, SEED = 2**31, 2**32
# key -> (lowest or None, whether it is allowed itself, limit), written down apart from the declarations.
BOUNDS = {
    "data.min_user_ratings": (0, True, COUNT),
    "data.min_item_ratings": (0, True, COUNT),
    "data.test_fraction": (0, False, 1),
    "data.validation_fraction": (0, True, 1),
    "data.split_seed": (0, True, SEED),
    "data.folds": (2, True, COUNT),
    "data.fold": (0, True, COUNT),
    "model.embedding_dim": (1, True, COUNT),
    "model.dropout": (0, True, 1),
    "model.embedding_l2": (0, True, COUNT),
    "model.bias_l2": (0, True, COUNT),
    "objective.negatives": (1, True, COUNT),
    "objective.positive_from": (None, True, math.inf),
    "optimizer.learning_rate": (0, False, math.inf),
    "optimizer.momentum": (0, True, 1),
    "optimizer.weight_decay": (0, True, COUNT),
    "optimizer.global_clipnorm": (0, False, math.inf),
    "train.epochs": (1, True, COUNT),
    "train.max_steps": (0, True, COUNT),
    "train.global_batch_size": (1, True, COUNT),
    "train.accumulation_steps": (1, True, COUNT),
    "train.seed": (0, True, SEED),
    "train.replicas": (0, True, COUNT),
    "train.steps_per_loop": (0, True, COUNT),
    "train.log_every_steps": (1, True, COUNT),
    "train.checkpoint_every_steps": (0, True, COUNT),
    "train.checkpoint_every_minutes": (0, True, COUNT),
    "train.join_timeout_secs": (0, False, COUNT),
    "train.keep_checkpoints": (1, True, COUNT),
}
WHOLE = {key for key in BOUNDS if SETTINGS[key].annotation is int}


def from_the_command_line(key, value):
    return make_config("article", RECIPES, [f"{key}={value!r}"]).flat()[key]


def from_yaml(key, value):
    text = {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan" if value != value else repr(value))
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(f"{key}: {text}\n")
        file.flush()
        return make_config(None, RECIPES, file=read_config(file.name)).flat()[key]


def from_python(key, value):
    part, _, name = key.partition(".")
    return getattr(PARTS[part](**{name: value}), name)


def from_a_copy(key, value):
    part, _, name = key.partition(".")
    return getattr(dataclasses.replace(PARTS[part](), **{name: value}), name)


WAYS = (from_the_command_line, from_yaml, from_python, from_a_copy)


def test_the_bounds_of_all_numbers_are_tested():
    numbers = {key for key, each in SETTINGS.items() if each.annotation in (int, float, float | None)}
    assert set(BOUNDS) == numbers


def inside(key):
    lowest, is_allowed, limit = BOUNDS[key]
    if key in WHOLE:
        highest = 4 if key == "data.fold" else limit - 1  # below the five folds
        return st.integers(5 if key == "data.folds" else lowest, highest)
    return st.floats(
        lowest,
        None if limit == math.inf else limit,
        exclude_min=not is_allowed,
        exclude_max=limit != math.inf,
        allow_nan=False,
        allow_infinity=False,
    )


def outside(key):
    lowest, is_allowed, limit = BOUNDS[key]
    if key in WHOLE:
        return st.integers(max_value=lowest - 1) | st.integers(limit, 10**30)
    above = st.just(limit) if limit == math.inf else st.floats(limit)
    below = st.just(-math.inf) if lowest is None else st.floats(max_value=lowest, exclude_max=is_allowed)
    return above | below | st.just(math.nan)


@pytest.mark.parametrize("key", BOUNDS)
@settings(max_examples=10)
@given(data=st.data())
def test_a_value_in_the_range_is_taken_as_it_is(key, data):
    value = data.draw(inside(key))
    for way in WAYS:
        assert way(key, value) == value


@pytest.mark.parametrize("key", BOUNDS)
@settings(max_examples=10)
@given(data=st.data())
def test_a_value_out_of_the_range_is_refused_in_the_same_words_everywhere(key, data):
    value = data.draw(outside(key))
    texts = set()
    for way in WAYS:
        with pytest.raises(UserError) as caught:
            way(key, value)
        text = str(caught.value)
        assert "\n" not in text
        rule, _, got = text.partition(", got ")
        assert rule.startswith(f"{key} must be ")
        assert type(value)(got) == value or value != value
        texts.add(rule)
    assert len(texts) == 1


@pytest.mark.parametrize("key", BOUNDS)
def test_each_bound_is_where_it_was_written_down(key):
    lowest, is_allowed, limit = BOUNDS[key]
    just = (lambda x, to: x + int(math.copysign(1, to))) if key in WHOLE else math.nextafter
    if lowest is not None:
        edge, beyond = (
            (lowest, just(lowest, -math.inf)) if is_allowed else (just(lowest, math.inf), float(lowest))
        )
        assert from_python(key, edge) == edge
        with pytest.raises(UserError):
            from_python(key, beyond)
    if limit != math.inf and key != "data.fold":
        assert from_python(key, just(limit, -math.inf)) < limit
        with pytest.raises(UserError):
            from_python(key, limit)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: TrainConfig(epochs=-1), "train.epochs must be at least 1, got -1"),
        (lambda: TrainConfig(epochs="3"), "train.epochs must be int, got '3'"),
        (lambda: TrainConfig(epochs=True), "train.epochs must be int, got True"),
        (lambda: TrainConfig(epochs=3.0), "train.epochs must be int, got 3.0"),
        (lambda: TrainConfig(0), "train.epochs must be at least 1, got 0"),
        (lambda: dataclasses.replace(TrainConfig(), seed=-1), "train.seed must be at least 0, got -1"),
        (lambda: ModelConfig(hidden_units=(8, 0)), "model.hidden_units must be at least 1, got 0"),
        (
            lambda: ModelConfig(hidden_units=(8.5,)),
            "model.hidden_units must be whole numbers with commas between, got 8.5",
        ),
        (
            lambda: ModelConfig(name="fm"),
            "model.name must be one of bias, mf, mlp, neumf, wide-deep, two-tower or module:function, "
            "got 'fm'",
        ),
        (
            lambda: OptimizerConfig(learning_rate=0),
            "optimizer.learning_rate must be a positive number, got 0",
        ),
        (
            lambda: OptimizerConfig(global_clipnorm="x"),
            "optimizer.global_clipnorm must be float or none, got 'x'",
        ),
        (
            lambda: ObjectiveConfig(name="hinge"),
            "objective.name must be one of mse, ordinal, bce, bpr, sampled-softmax, in-batch-softmax, "
            "got 'hinge'",
        ),
        (lambda: Config(recipe=3), "recipe must be str, got 3"),
        (lambda: Config(train={"epochs": 3}), "train must be TrainConfig, got {'epochs': 3}"),
    ],
)
def test_what_is_made_in_python_is_checked_when_it_is_made(make, line):
    with pytest.raises(UserError) as caught:
        make()
    assert str(caught.value) == line


def test_an_unknown_name_is_refused_with_the_nearest_known_one():
    with pytest.raises(UserError) as caught:
        TrainConfig(epoch=3)
    assert str(caught.value).startswith("unknown setting 'train.epoch'; known: train.epochs, ")
    assert str(caught.value).endswith("; did you mean train.epochs?")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("model.nam", "model.name"),  # not optimizer.name
        ("modle.name", "model.name"),
        ("trian", "train"),
        ("epochs", "train.epochs"),
        ("learning_rat", "optimizer.learning_rate"),
    ],
)
def test_the_nearest_key_is_suggested(key, nearest):
    assert unknown_setting(key, SETTINGS, parts=PARTS).endswith(f"; did you mean {nearest}?")


@pytest.mark.parametrize("settings", ["train.epochs=3", 3])
def test_settings_that_are_one_text_or_a_number_are_refused(settings):
    with pytest.raises(UserError, match=r"settings must be a mapping or a list of part\.key=value"):
        setting_texts(settings)


def test_a_configuration_that_is_a_number_is_refused():
    with pytest.raises(UserError, match="a configuration must be a file or a mapping, got 3"):
        read_config(3)


def test_a_list_of_widths_is_a_tuple():
    assert ModelConfig(hidden_units=[8, 4]) == ModelConfig(hidden_units=(8, 4))
    assert ModelConfig(hidden_units=[8, 4]).hidden_units == (8, 4)


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().epochs = 3


def test_every_setting_has_a_text_and_a_default_that_keeps_its_own_rule():
    for key, declared in SETTINGS.items():
        assert declared.help_text.endswith("."), key
        assert "\n" not in declared.help_text
        assert from_python(key, declared.default) == declared.default


def test_a_continued_run_may_change_what_does_not_change_its_result():
    changeable = {key for key, declared in SETTINGS.items() if declared.changeable}
    names = (
        *("precision", "epochs", "max_steps", "replicas", "steps_per_loop", "log_every_steps", "reduction"),
        *("checkpoint_every_steps", "checkpoint_every_minutes", "keep_checkpoints", "join_timeout_secs"),
    )
    assert changeable == {f"train.{name}" for name in names}


def test_docs_settings_md_is_what_the_declarations_say():
    page = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_page(), "stale: run `python -m trainer.config.reference`"


def test_data_settings_are_parsed_without_a_recipe():
    assert data_config(["data.split=time", "data.folds=7"]) == DataConfig(split="time", folds=7)
    with pytest.raises(UserError, match=r"unknown setting 'train\.epochs'; known: data"):
        data_config(["train.epochs=3"])


def modules_after(*arguments, cwd):
    """The modules that a process has imported when `reeltrain ARGUMENTS` has ended well."""
    code = (
        "import sys; from launch.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}


def test_help_loads_neither_pydantic_nor_tensorflow(tmp_path):
    heavy = {"pydantic", "yaml", "numpy", "pyarrow", "keras", "tensorflow", "trainer"}
    assert not modules_after("--help", cwd=tmp_path) & heavy


def test_config_loads_no_tensorflow(tmp_path):
    assert not modules_after("config", cwd=tmp_path) & {"numpy", "pyarrow", "keras", "tensorflow"}


def test_prepare_loads_nothing_of_the_trainer(tmp_path):
    rows = [f"{row // 10},{row % 10},{row % 5 + 1}\n" for row in range(100)]
    (tmp_path / "good.csv").write_text("user_id,item_id,rating\n" + "".join(rows))
    arguments = ("prepare", "good.csv", "--out", "out", "--set", "data.split=per-user")
    assert "trainer" not in modules_after(*arguments, cwd=tmp_path)
