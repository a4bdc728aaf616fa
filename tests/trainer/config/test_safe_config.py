"""A workdir's config.json never causes an import: a model of your own runs only where this call names it."""

import ast
import json
import sys
from pathlib import Path

import pytest

import reeltrain
from data_pipeline.errors import UserError
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.open_source import open_source
from launch.main import main
from trainer.config import RECIPES, make_config, read_config
from trainer.config.own_model import named_model, require_named_model
from trainer.studies.seeds import evaluate_seeds
from trainer.workdir.workdir import Workdir

PROJECT = Path(__file__).resolve().parents[3]
GOOD = "user_id,item_id,rating\n" + "".join(f"{r // 10},{r % 10},{r % 7 % 5 + 1}\n" for r in range(100))
# Leaves a file where it is imported, and makes a model.
EVIL = """
from pathlib import Path
Path(__file__).with_name("imported").touch()

def make(config, inputs):
    import keras
    user = keras.Input((), dtype="int32", name="user_index")
    item = keras.Input((), dtype="int32", name="item_index")
    rows = keras.layers.Embedding(inputs.num_user_rows, 2)(user)
    score = keras.layers.Dense(1)(rows)
    return keras.Model({"user_index": user, "item_index": item}, score)
"""
RULE = "model.name=evil:make is imported only if you name it; give --model evil:make"


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    """The working directory, with ratings, the module `evil`, and a run `run` whose config.json names it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    (tmp_path / "good.csv").write_text(GOOD)
    (tmp_path / "evil.py").write_text(EVIL)
    config = make_config("article", RECIPES)
    dataset = prepare_dataset(open_source("good.csv", config.data), config.data, tmp_path / "run" / "dataset")
    workdir = Workdir(tmp_path / "run")
    workdir.start(config, dataset, precision="float32")
    content = json.loads(workdir.config_file.read_text())
    content["config"]["model"]["name"] = "evil:make"
    workdir.config_file.write_text(json.dumps(content))
    return tmp_path


def was_imported(folder):
    return (folder / "imported").exists() or "evil" in sys.modules


@pytest.fixture
def refused(sandbox, capsys):  # noqa: ARG001
    """Runs the command line in this process; returns the line of its refusal."""

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([*map(str, arguments)])
        out, err = capsys.readouterr()
        assert (caught.value.code, out) == (2, "")
        *_, last = err.splitlines()
        return last.removeprefix("reeltrain: ")

    return run


@pytest.mark.parametrize(
    "verb",
    [("evaluate",), ("evaluate", "--seeds", 2), ("predict",), ("recommend", "--user", "1")],
    ids=lambda verb: " ".join(map(str, verb)),
)
def test_verbs_refuse_a_stored_model_that_the_command_does_not_name(sandbox, refused, verb):
    assert refused(verb[0], "run", *verb[1:]) == f"run: {RULE}"
    assert not was_imported(sandbox)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("good.csv",), ("run/dataset",)])
def test_continuing_such_a_run_is_refused(sandbox, refused, arguments):
    line = refused("train", *arguments, "--workdir", "run")
    rule = "run: this run was started with model.name=evil:make, got mlp; give --model evil:make, or another"
    assert line == f"{rule} --workdir"
    assert not was_imported(sandbox)


@pytest.mark.parametrize("name", ["__main__:make", "tests:build.<locals>.make"])
def test_a_function_without_a_name_to_import_is_asked_for_in_python_only(name):
    with pytest.raises(UserError) as caught:
        require_named_model(name, None, where="run")
    assert str(caught.value) == f"run: model.name={name} is imported only if you name it; give model=FUNCTION"


@pytest.mark.parametrize("name", ["run/config.json", "copy.yaml", "plain.json"])
def test_a_runs_configuration_given_as_a_file_names_no_model(sandbox, refused, name):
    content = json.loads((sandbox / "run" / "config.json").read_text())
    (sandbox / "copy.yaml").write_text(json.dumps(content))
    (sandbox / "plain.json").write_text(json.dumps(content["config"]))
    for workdir in ("run", "new"):
        line = refused("train", "good.csv", "--config", name, "--workdir", workdir)
        assert line == f"the configuration: {RULE}"
    main(["config", "--config", name])
    assert not was_imported(sandbox)


@pytest.mark.slow
def test_from_python_nothing_is_imported_either(sandbox):
    calls = [
        lambda: reeltrain.load_run("run"),
        lambda: reeltrain.evaluate("run"),
        lambda: reeltrain.predict("run"),
        lambda: reeltrain.recommend("run"),
        lambda: evaluate_seeds("run", 2),
        lambda: reeltrain.train("good.csv", config="run/config.json", workdir="new"),
        lambda: reeltrain.train(
            "good.csv", config=json.loads((sandbox / "run" / "config.json").read_text()), workdir="new"
        ),
    ]
    for call in calls:
        with pytest.raises(UserError, match='is imported only if you name it; give model="evil:make"'):
            call()
    with pytest.raises(UserError, match='give model="evil:make", or another workdir'):
        reeltrain.train(workdir="run")
    assert not was_imported(sandbox)
    assert not (sandbox / "new").exists()


@pytest.mark.slow
def test_a_model_that_is_named_is_imported_trained_and_used(sandbox, refused, capsys):
    """Also the proof that the other tests could see an import."""
    train = ["train", "good.csv", "--workdir", "mine", "--set", "train.epochs=1"]
    main([*train, "--model", "evil:make"])
    assert was_imported(sandbox)
    assert Workdir(Path("mine")).read()[0].model.name == "evil:make"
    for verb in ("evaluate", "predict", "recommend"):
        assert refused(verb, "mine") == f"mine: {RULE}"
        main([verb, "mine", "--model", "evil:make", *(["--no-mf"] if verb == "evaluate" else [])])
    assert refused(*train).startswith(
        "mine: this run was started with model.name=evil:make, got mlp; give --model"
    )
    capsys.readouterr()
    main([*train, "--set", "model.name=evil:make"])
    assert "nothing left to train" in capsys.readouterr().err
    Path("run.yaml").write_text("model.name: evil:make\ntrain.epochs: 2\n")
    main([*train[:4], "--config", "run.yaml"])
    function = sys.modules["evil"].make
    assert (
        reeltrain.load_run("mine", model=function).step == reeltrain.load_run("mine", model="evil:make").step
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("train", "good.csv", "--model", "mlp"),
            "--model must be module:function, got 'mlp'",
        ),
        (
            ("train", "good.csv", "--model", "a b:c"),
            "model.name must be one of bias, mf, mlp, neumf, wide-deep,",
        ),
        (
            ("train", "good.csv", "--model", "evil:make", "--set", "model.name=mf"),
            "give --model or --set model.name, got both",
        ),
        (
            ("predict", "ours", "--model", "evil:make"),
            "ours: --model is for a model of your own, got 'evil:make'",
        ),
        (("predict", "run", "--model", "mlp"), "--model must be module:function, got 'mlp'"),
    ],
)
def test_the_option_is_for_a_model_of_your_own(sandbox, refused, arguments, line):
    content = json.loads((sandbox / "run" / "config.json").read_text())
    content["config"]["model"]["name"] = "mlp"
    content["dataset"]["path"] = "../run/dataset"
    (sandbox / "ours").mkdir()
    (sandbox / "ours" / "config.json").write_text(json.dumps(content))
    assert refused(*arguments).startswith(line)
    assert not was_imported(sandbox)


@pytest.mark.parametrize(
    ("file", "settings", "given", "named"),
    [
        ({}, ["model.name=m:f"], None, "m:f"),
        ({"model.name": "m:f"}, [], None, "m:f"),
        ({"model.name": "x:f"}, ["model.name=m:f"], "m:f", "m:f"),
        (
            {"config": {"model": {"name": "m:f"}}, "dataset": {}, "precision": ""},
            ["model.name=m:f"],
            None,
            "m:f",
        ),
        ({"model.name": "mf"}, [], None, None),
    ],
)
def test_a_setting_a_mapping_or_the_call_names_a_model(file, settings, given, named):
    file = read_config(file)
    name = make_config(None, RECIPES, settings, file).model.name
    assert named_model(name, given, settings, file) == named


def sources():
    for folder in ("data_pipeline", "trainer", "launch", "reeltrain"):
        yield from (PROJECT / folder).rglob("*.py")


def test_nothing_is_unpickled_or_loaded_as_a_keras_model():
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.partition(".")[0] for alias in node.names}
                module = getattr(node, "module", None) or ""
                assert not unsafe & {*names, module.partition(".")[0]}, path
            if isinstance(node, ast.Attribute | ast.Name):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                assert name not in ("load_model", "model_from_json", "eval", "exec", "unsafe_load"), path
            if isinstance(node, ast.keyword):
                assert (node.arg, getattr(node.value, "value", None)) != ("allow_pickle", True), path


def test_a_name_is_imported_in_one_place_alone():
    """`importlib` turns text into code: used where `named_model` guards it, and for fixed tables."""
    users = {
        str(path.relative_to(PROJECT))
        for path in sources()
        if "import_module(" in path.read_text(encoding="utf-8") or "__import__(" in path.read_text()
    }
    assert users == {"trainer/config/own_model.py", "reeltrain/__init__.py", "reeltrain/_keras.py"}
