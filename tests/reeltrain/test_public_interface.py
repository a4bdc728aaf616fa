"""`import reeltrain`: lazy, whole, documented and typed."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import reeltrain
from data_pipeline.sources.generated import generate_ratings

PROJECT = Path(__file__).resolve().parent.parent.parent
HEAVY = ("tensorflow", "keras", "pandas", "pyarrow", "numpy", "sklearn", "pydantic")
FUNCTIONS = (
    *("prepare", "append", "check", "open_dataset"),
    *("train", "evaluate", "verify", "predict", "recommend", "load_run"),
    *("similar", "embeddings", "write_embeddings"),
)


@pytest.fixture
def ratings(tmp_path):
    table = generate_ratings(num_users=60, num_items=90, num_ratings=2400, seed=1).table.to_pandas()
    table.to_csv(tmp_path / "ratings.csv", index=False)
    return tmp_path / "ratings.csv"


def imported(name):
    """What the public interface makes of a name: its TYPE_CHECKING imports, name -> module."""
    tree = ast.parse((PROJECT / name).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports for alias in node.names}


def test_importing_reeltrain_loads_nothing_and_takes_less_than_a_tenth_of_a_second(run_python):
    program = (
        "import sys, time\nbegin = time.perf_counter()\nimport reeltrain\n"
        f"print(time.perf_counter() - begin, [name for name in {HEAVY} if name in sys.modules])"
    )
    seconds = []
    for _ in range(3):
        taken, loaded = run_python(program).split(maxsplit=1)
        assert loaded.strip() == "[]"
        seconds.append(float(taken))
    assert min(seconds) < 0.1


def test_datasets_are_made_and_read_without_tensorflow_and_keras(run_python, ratings):
    printed = run_python(
        "import sys, reeltrain\n"
        f"reeltrain.prepare({str(ratings)!r}, 'dataset')\n"
        f"reeltrain.append({str(ratings)!r}, 'dataset')\n"
        "rows = reeltrain.check('dataset').manifest['rows']\n"
        "print(rows, reeltrain.open_dataset('dataset').num_rows('test'))\n"
        "reeltrain.DataConfig, reeltrain.Config, reeltrain.TrainConfig, reeltrain.UserError\n"
        "print([name for name in ('tensorflow', 'keras', 'sklearn') if name in sys.modules])"
    )
    assert printed.splitlines() == ["2400 480", "[]"]


def test_every_public_name_resolves_and_is_documented():
    assert set(FUNCTIONS) < set(reeltrain.__all__)
    assert {"layers", "optimizers", "DataConfig", "Config", "UserError", "SaveError"} < set(reeltrain.__all__)
    for name in reeltrain.__all__:
        text = inspect.getdoc(getattr(reeltrain, name))
        # A dataclass without a docstring has its signature.
        assert not text.startswith(f"{name}("), name
        assert text.splitlines()[0].endswith("."), name
    for module in (reeltrain.layers, reeltrain.optimizers):
        for name in module.__all__:
            assert vars(getattr(module, name))["__doc__"], name  # its own, not Keras's


def test_docstrings_of_functions_name_every_argument():
    for name in FUNCTIONS:
        function = getattr(reeltrain, name)
        for argument in list(inspect.signature(function).parameters)[1:]:
            assert argument in inspect.getdoc(function), (name, argument)


def test_only_the_leading_arguments_of_a_function_are_positional():
    for name in FUNCTIONS:
        kinds = [p.kind for p in inspect.signature(getattr(reeltrain, name)).parameters.values()]
        assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) <= 3, name


def test_type_checkers_and_the_running_program_see_the_same_names():
    seen = imported("reeltrain/__init__.py")
    lazy = {**reeltrain._MODULES, **dict.fromkeys(reeltrain._SUBMODULES, "reeltrain")}
    assert seen == lazy
    assert sorted(seen) == sorted(reeltrain.__all__)
    assert dir(reeltrain) == sorted([*reeltrain.__all__, "__version__"])


def test_a_name_that_does_not_exist_is_an_attribute_error():
    assert not hasattr(reeltrain, "fit")
    with pytest.raises(AttributeError, match="module 'reeltrain' has no attribute 'fit'"):
        reeltrain.fit  # noqa: B018
    with pytest.raises(ImportError, match="fit"):
        from reeltrain import fit  # noqa: F401


def test_the_version_is_the_projects():
    text = (PROJECT / "pyproject.toml").read_text()
    assert f'\nversion = "{reeltrain.__version__}"\n' in text


@pytest.mark.parametrize("package", ["reeltrain", "trainer", "data_pipeline", "launch"])
def test_packages_say_that_they_are_typed(package):
    assert (PROJECT / package / "py.typed").is_file()


PROGRAM = """
import keras
import pandas as pd
import reeltrain
from reeltrain.layers import Embedding


def mine(config: reeltrain.ModelConfig, inputs: reeltrain.ModelInputs) -> keras.Model:
    user, item = (keras.Input((), dtype="int32", name=name) for name in ("user_index", "item_index"))
    rows = [Embedding(inputs.num_user_rows, 16)(user), Embedding(inputs.num_item_rows, 16)(item)]
    return keras.Model({"user_index": user, "item_index": item}, keras.layers.Dense(1)(rows))


dataset = reeltrain.prepare(pd.DataFrame(), "dataset", reeltrain.DataConfig(split="time"))
reveal_type(reeltrain.append("new.csv", dataset.path, bad_rows="drop"))
result = reeltrain.train(dataset, model=mine, settings={"train.epochs": 3})
reveal_type(reeltrain.evaluate(result.run))
reveal_type(reeltrain.evaluate(result.workdir, seeds=5))
reveal_type(reeltrain.verify("ratings.csv", replicas=[1, 2]).passed)
reveal_type(reeltrain.recommend("run", user_id=196, k=10).known_user)
reveal_type(reeltrain.__version__)
reeltrain.train(dataset, epochs=3)
reeltrain.fit(dataset)
"""


@pytest.mark.slow
def test_mypy_accepts_a_users_program_and_sees_its_mistakes(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", str(tmp_path / "cache")),
            *("--config-file", str(PROJECT / "pyproject.toml"), "--strict", "--follow-imports", "silent"),
            "program.py",
        ],
        cwd=tmp_path,
        env={"MYPYPATH": str(PROJECT), "PATH": "/usr/bin:/bin"},
        timeout=240,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split(": ", 2)[1:] for line in done.stdout.splitlines()]
    revealed = [text.split('"')[1] for kind, text in lines if kind == "note" and "Revealed" in text]
    assert [kind.rpartition(".")[2] for kind in revealed] == [
        *("PreparedDataset", "Evaluation", "Spread", "bool", "bool", "str"),
    ], done.stdout
    errors = [text.split("  [")[0] for kind, text in lines if kind == "error"]
    assert errors == [
        'Unexpected keyword argument "epochs" for "train"',
        'Module has no attribute "fit"',
    ], done.stdout


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reeltrain.evaluate("run", seeds=0), "seeds must be at least 1, got 0"),
        (lambda: reeltrain.verify(replicas=[0, 1]), r"replicas must be whole .* least 1, got \[0, 1\]"),
        (lambda: reeltrain.verify(workers=[]), r"workers must be whole numbers of at least 1, got \[\]"),
        (lambda: reeltrain.verify(precision="float8"), "precision must be one of float64, .* got 'float8'"),
        (lambda: reeltrain.verify(tolerance=float("nan")), "tolerance must be at least 0 .* got nan"),
        (lambda: reeltrain.train(model=3), "model must be a function or module:function, got 3"),
        (lambda: reeltrain.train(settings="train.epochs=3"), "settings must be a mapping or a list"),
        (lambda: reeltrain.train(config=3), "a configuration must be a file or a mapping, got 3"),
        (lambda: reeltrain.append(None, "run"), "append needs the new ratings, got None"),
        (
            lambda: reeltrain.train(items=pd.DataFrame({"item_id": [1]})),
            "items must be a path, a str or Path",
        ),
        (lambda: reeltrain.append(pd.DataFrame(), "run", users=None), "users must be a path, .* got None"),
        (lambda: reeltrain.train(settings=[3]), "settings must be a mapping .* got 3 among them"),
        (lambda: reeltrain.train(recipe=["mf"]), r"recipe must be one of .* got \['mf'\]"),
        (lambda: reeltrain.train(workdir=b"run"), "workdir must be a path, a str or Path, got b'run'"),
        (lambda: reeltrain.load_run(None), "run must be a path, a str or Path, got None"),
        (lambda: reeltrain.recommend(3), "run must be a path, a str or Path, got 3"),
        (lambda: reeltrain.recommend("run", user_id=[3, 4]), r"user_id must be one id, .* got \[3, 4\]"),
        (lambda: reeltrain.recommend("run", user_id=float("nan")), "user_id must be one id, .* got nan"),
        (lambda: reeltrain.recommend("run", user_id=3.5), "user_id must be one id, .* got 3.5"),
        (lambda: reeltrain.recommend("run", k=True), "k must be an integer of at least 1, got True"),
        (lambda: reeltrain.predict("run", num_test_rows=1.5), "num_test_rows must be a whole .* got 1.5"),
        (lambda: reeltrain.evaluate("run", seeds="2"), "seeds must be a whole number or None, got '2'"),
        (lambda: reeltrain.verify(workers=2), "workers must be a list of whole numbers, got 2"),
        (lambda: reeltrain.verify(replicas="12"), "replicas must be a list of whole numbers, got '12'"),
        (lambda: reeltrain.verify(steps=None), "steps must be a whole number, got None"),
        (lambda: reeltrain.prepare(pd.DataFrame(), "out", 3), "config must be a DataConfig, got 3"),
        (lambda: reeltrain.prepare(pd.DataFrame(), 3), "out must be a path, a str or Path, got 3"),
        (lambda: reeltrain.check("a\0b"), "dataset_dir must be a path, a str or Path, got 'a"),
    ],
)
def test_a_mistake_is_named_before_anything_happens(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(reeltrain.UserError, match=message):
        call()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_is_evaluated_alone_and_over_seeds(ratings, tmp_path):
    settings = {"train.epochs": 1, "train.global_batch_size": 64}
    run = reeltrain.train(ratings, settings=settings, workdir=tmp_path / "run", quiet=True).run
    alone = reeltrain.evaluate(run, ranking=False)
    assert isinstance(alone, reeltrain.Evaluation)
    spread = reeltrain.evaluate(run, seeds=2, ranking=False)
    assert isinstance(spread, reeltrain.Spread)
    assert spread.seeds == [0, 1]
    # A recommender of the user's own, next to the baselines.
    itself = {"again": reeltrain.Recommender(run.scorer, run.ranker)}
    again = reeltrain.evaluate(run, ranking=False, others=itself, trained_baseline=True)
    assert again.baselines["again"] == again.test
    assert spread.evaluations[0].test == alone.test
    other = reeltrain.evaluate(run.workdir / "seeds" / "1", ranking=False).test["rmse"]
    assert spread.mean["model"]["rmse"] == pytest.approx((alone.test["rmse"] + other) / 2)
    assert set(alone.baselines) == {"global_mean", "user_item_bias"}
    assert set(again.baselines) == {"global_mean", "user_item_bias", "again", "mf"}
    with pytest.raises(reeltrain.UserError, match="best chooses a checkpoint of a workdir, got a loaded run"):
        reeltrain.evaluate(run, best=True)


@pytest.mark.slow
def test_a_data_frame_is_verified(ratings):
    settings = {"train.global_batch_size": 16}
    result = reeltrain.verify(pd.read_csv(ratings), settings=settings, replicas=[1], steps=8)
    assert isinstance(result, reeltrain.Verification)
    assert result.passed, result.text()
    assert [(c.name, c.against) for c in result.comparisons] == [("single device", "NumPy")]
