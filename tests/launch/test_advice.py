"""Advice in messages works where it is given: the verb has the option, the function has the keyword."""

import ast
import inspect
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pandas as pd
import pytest

import reeltrain
from data_pipeline import advice
from data_pipeline.config import DataConfig, DataSettings
from data_pipeline.errors import UserError
from data_pipeline.settings import declared_settings
from launch.cli import cli
from launch.main import main
from launch.options import _CHOICES, DATA_OPTIONS
from trainer.config import SETTINGS

PROJECT = Path(__file__).parents[2]
ROWS = [(user, (user * 7 + step) % 20, 1 + step % 5) for user in range(30) for step in range(12)]


@pytest.fixture(autouse=True)
def sandbox(tmp_path, monkeypatch):
    """Folders and files that need advice, each mended by following it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    frame = pd.DataFrame(ROWS, columns=["user_id", "item_id", "rating"])
    frame.to_csv("good.csv", index=False)
    frame.rename(columns={"item_id": "COLUMN"}).to_csv("books.csv", index=False)
    for folder, names in (("given", ("train.csv", "test.csv")), ("pairs", ("u1.base", "u1.test"))):
        (tmp_path / folder).mkdir()
        for part, name in enumerate(names):
            frame[part::2].to_csv(tmp_path / folder / name, index=False)
    return tmp_path


def refusal(capsys, *arguments):
    """The line with which the command line refuses."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    line = capsys.readouterr().err.splitlines()[-1]
    assert caught.value.code == 2, line
    return line


def options_in(line):
    return re.findall(r"(?<![\w-])--[a-z][a-z-]*", line)


def options_of(verb):
    return {o for each in cli.commands[verb].params for o in each.opts if o.startswith("-")}


def followed(line):
    """The first option in the line with its value, as words of a command line."""
    option = re.search(r"--[a-z-]+ [^\s:,;()]+", line)
    return shlex.split(option[0])


# What needs advice, in both surfaces: DATA alone.
DATA = ["books.csv", "given", "pairs"]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("verb", ["prepare", "train", "verify"])
def test_advice_on_data_is_an_option_of_the_verb(capsys, verb, data):
    out = ["--out", "out"] if verb == "prepare" else []
    line = refusal(capsys, verb, data, *out)
    assert options_in(line)
    assert set(options_in(line)) <= options_of(verb)
    if verb == "prepare" and data != "pairs":
        main([verb, data, *out, *followed(line)])
        assert "reeltrain: " not in capsys.readouterr().err


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", ["prepare", "train", "verify"])
def test_advice_on_data_is_a_keyword_of_the_function(name, data):
    call = getattr(reeltrain, name)
    arguments = ["out"] if name == "prepare" else []
    with pytest.raises(UserError) as caught:
        call(data, *arguments)
    assert "--" not in str(caught.value)
    keyword, value = re.search(r'(\w+)="([^"]+)"', str(caught.value)).groups()
    assert keyword in DataSettings.__annotations__
    assert "data_settings" in inspect.signature(call).parameters
    if name == "prepare" and data != "pairs":
        assert call(data, "out", **{keyword: value}).num_rows("train") > 0


def texts_of(tree):
    """The texts of a module, but for docstrings and what `advice` renders."""
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            left_out.add(id(node.value))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("words", "setting"):
            left_out |= {id(part) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.value


def test_texts_of_the_library_name_options_by_advice_alone():
    """Library code does not know who asks; `--pairs` is read for one verb only, others build commands."""
    found = {}
    for wing in ("data_pipeline", "trainer", "reeltrain"):
        for path in sorted((PROJECT / wing).rglob("*.py")):
            texts = texts_of(ast.parse(path.read_text(encoding="utf-8")))
            if options := {option for text in texts for option in options_in(text)}:
                found[path.name] = options
    assert found == {
        "pairs.py": {"--pairs"},
        "layouts.py": {"--workers", "--workdir", "--json", "--set"},
        "verify.py": {"--recipe", "--set"},
        "advice.py": {"--set", "--workdir"},
        "reference.py": {"--set", "--config", "--recipe", "--model"},
        "__init__.py": {"--xla"},
    }


def test_data_options_and_keywords_are_the_declared_settings():
    declared = declared_settings("data", DataConfig)
    names = {key.removeprefix("data.") for key in declared}
    assert set(DATA_OPTIONS) == names
    assert set(DataSettings.__annotations__) == names
    assert {key for key in DATA_OPTIONS if declared[f"data.{key}"].choices} == set(_CHOICES)
    shared = {f"--{name.replace('_', '-')}" for name in names}
    for verb in ("prepare", "train"):
        assert shared <= options_of(verb)
    helps = [
        {
            each.name: each.get_help_record(click.Context(cli.commands[verb]))
            for each in cli.commands[verb].params
            if each.name in names
        }
        for verb in ("prepare", "train")
    ]
    assert helps[0] == helps[1]


@pytest.mark.parametrize("verb", sorted(cli.commands))
def test_a_setting_is_advised_only_where_the_verb_can_change_it(verb):
    options = options_of(verb)
    with advice.speaking({option.lstrip("-") for option in options}):
        given = [advice.setting(key, "1") for key in SETTINGS]
        workdir = advice.another_workdir()
    for text in [*given, workdir]:
        assert set(options_in(text)) <= options, text


def test_a_key_given_both_ways_is_refused(capsys):
    line = refusal(capsys, "train", "good.csv", "--split", "time", "--set", "data.split=random")
    assert line == "reeltrain: give --split or --set data.split, got both"
    with pytest.raises(UserError, match=r"give split= or the setting data\.split, got both"):
        reeltrain.train("good.csv", split="time", settings={"data.split": "random"})
    with pytest.raises(UserError, match="give config or split=, got both"):
        reeltrain.prepare("good.csv", "out", DataConfig(), split="time")
    with pytest.raises(TypeError, match="unexpected keyword argument 'colums'"):
        reeltrain.prepare("good.csv", "out", colums="user=a")


def test_options_for_a_prepared_dataset_are_refused(capsys):
    main(["prepare", "good.csv", "--out", "out"])
    line = refusal(capsys, "train", "out", "--split", "time")
    assert line.endswith("out is prepared, its split is fixed: 'data.split=time' has no effect")


def test_an_option_for_a_run_that_continues_must_be_the_runs(capsys):
    settings = {"train.epochs": 1}
    reeltrain.train("books.csv", columns="item=COLUMN", workdir="run", settings=settings, quiet=True)
    with pytest.raises(UserError, match=r"started with data\.split=random, got time; give another workdir$"):
        reeltrain.train("books.csv", columns="item=COLUMN", split="time", workdir="run", quiet=True)
    line = refusal(
        capsys, "train", "books.csv", "--columns", "item=COLUMN", "--split", "time", "--workdir", "run"
    )
    assert line.endswith("data.split=random, got time; give another --workdir")
    again = reeltrain.train("books.csv", columns="item=COLUMN", workdir="run", settings=settings, quiet=True)
    assert again.step > 0


DIVERGING = {"optimizer.learning_rate": 1e30, "optimizer.name": "sgd", "train.epochs": 1}


def test_a_diverged_run_that_saved_nothing_starts_again_with_a_lower_rate():
    with pytest.raises(FloatingPointError) as caught:
        reeltrain.train("good.csv", workdir="run", settings=DIVERGING, quiet=True)
    assert str(caught.value).endswith(
        '; try a lower learning rate (settings={"optimizer.learning_rate": 1e+29})'
    )
    result = reeltrain.train(
        "good.csv", workdir="run", settings={**DIVERGING, "optimizer.learning_rate": 0.01}, quiet=True
    )
    assert result.step > 0
    assert reeltrain.load_run("run").config.optimizer.learning_rate == 0.01
    with pytest.raises(UserError, match=r"got 0\.02; give another workdir"):
        reeltrain.train(
            "good.csv", workdir="run", settings={**DIVERGING, "optimizer.learning_rate": 0.02}, quiet=True
        )


def test_a_run_that_diverges_after_a_checkpoint_says_what_works():
    import keras

    class Diverge(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):  # noqa: ARG002
            if epoch == 1:
                self.model.weights[0].assign(self.model.weights[0] * float("nan"))

    settings = {"train.epochs": 2}
    with pytest.raises(FloatingPointError, match=r"in another workdir: this one continues from step \d+$"):
        reeltrain.train("good.csv", workdir="run", settings=settings, callbacks=[Diverge()], quiet=True)


@pytest.mark.parametrize(
    ("ratings", "objective", "advised"),
    [
        ([1], "mse", ("objective.name", "bpr")),
        ([0, 1], "bpr", ("objective.positive_from", "1")),
        ([0, 5], "bpr", ("objective.positive_from", "4")),
        ([0, 1], "mse", None),
        ([1, 5], "bpr", None),
    ],
)
def test_ratings_that_an_objective_is_not_meant_for_are_pointed_out(tmp_path, ratings, objective, advised):
    from trainer.config import RECIPES, make_config
    from trainer.run.plan import _rating_hints

    rows = [(user, item, ratings[row % len(ratings)]) for row, (user, item, _) in enumerate(ROWS)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
    dataset = reeltrain.prepare(frame, tmp_path / "out")
    config = make_config("article", RECIPES, [f"objective.name={objective}"])
    notes = list(_rating_hints(config, dataset))
    assert len(notes) == (advised is not None)
    if advised:
        key, value = advised
        assert f'settings={{"{key}": "{value}"}}' in notes[0]
        make_config("article", RECIPES, [f"objective.name={objective}", f"{key}={value}"])


@pytest.mark.parametrize(
    ("encoding", "verb"), [("ascii", "train"), ("ascii", "prepare"), ("latin-1", "evaluate")]
)
def test_stdout_of_any_encoding_shows_help_and_results(monkeypatch, encoding, verb):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    main([verb, "--help"])
    print("é≥│")  # what a title or a table may hold
    assert out.buffer.getvalue().decode(encoding).startswith("Usage: reeltrain")


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("config > /dev/full", 1, "reeltrain: No space left on device\n"),
        ("config | true", 1, ""),
        ("prepare nofile.csv --out out 2> /dev/full", 2, ""),
        ("prepare good.csv --out out 2> /dev/full > text", 0, ""),
    ],
)
def test_streams_that_cannot_be_written(command, status, said):
    verb, pipe, reader = command.partition(" | ")
    line = f"{shlex.quote(sys.executable)} -m launch.main {verb}{pipe}{reader}"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (status, said)
