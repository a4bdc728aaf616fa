"""A user's mistake: one line that names rule and value, exit status 2, no traceback, nothing left behind."""

import json
import shutil

import numpy as np
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.open_source import open_source
from launch.main import main
from trainer.config import make_config
from trainer.config.recipes import RECIPES
from trainer.workdir.workdir import Workdir

HEADER = "user_id,item_id,rating,timestamp\n"
GOOD = HEADER + "".join(f"{row // 10},{row % 10},{row % 7 % 5 + 1},0\n" for row in range(100))
GARBAGE = np.random.default_rng(0).bytes(3000)
TEST_FRACTION_RULE = "data.test_fraction must be above 0 and below 1"
SPLIT_RULE = "data.split must be one of random, per-user, leave-last-out, time, k-fold, or a pair in a folder"
ROWS_RULE = "a split needs at least one row for train and one for test"


@pytest.fixture(autouse=True)
def sandbox(tmp_path, monkeypatch):
    """The working directory, with good ratings in it."""
    folder = tmp_path / "sandbox"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.delenv("TF_CONFIG", raising=False)
    (folder / "good.csv").write_text(GOOD)
    return folder


def listing(folder):
    """Path -> what is there, hidden files included."""
    return {path: path.read_bytes() if path.is_file() else "folder" for path in folder.rglob("*")}


@pytest.fixture
def refused(sandbox, capsys):
    """Runs the command line in this process, plain and with --json; returns the line of its refusal."""

    def run(*arguments, json_option=True):
        lines = []
        for option in [[], ["--json"]] if json_option else [[]]:
            before = listing(sandbox)
            capsys.readouterr()
            with pytest.raises(SystemExit) as caught:
                main([*map(str, arguments), *option])
            out, err = capsys.readouterr()
            assert caught.value.code == 2, err
            assert out == ""
            assert "Traceback" not in err
            assert listing(sandbox) == before
            *_, last = err.splitlines()
            assert [line for line in err.splitlines() if line.startswith("reeltrain: ")][-1] == last
            lines.append(last)
        assert len(set(lines)) == 1
        return lines[0]

    return run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "bad.csv: a ratings file needs rows, got an empty file"),
        (HEADER, "bad.csv: a ratings file needs rows, got none"),
        (GOOD + "1,2,3\n", "bad.csv:102: a row has 4 columns, got 3: '1,2,3'"),
        (GOOD + "1,2,good,4\n", "bad.csv:102: rating must be a finite number, got 'good': '1,2,good,4'"),
        (GOOD + "1,2,NaN,4\n", "bad.csv:102: rating must be a finite number, got 'NaN': '1,2,NaN,4'"),
        (GOOD + "1,2,inf,4\n", "bad.csv:102: rating must be a finite number, got 'inf': '1,2,inf,4'"),
        (GARBAGE, "bad.csv:1: a ratings file is UTF-8 text, got "),
        (HEADER.encode() + b"1,2,\0,4\n", "bad.csv:2: a ratings file is text, got a NUL byte"),
        (
            b"\xff\xfe" + GARBAGE.replace(b"\0", b"\n"),
            "bad.csv:1: a ratings file is UTF-8 text, got '\\xff\\xfe",
        ),
        (
            "name,stars\na,1\n",
            "bad.csv:1: the header needs a column named user_id or userid or user, or give --columns user=",
        ),
        (HEADER + "1,2,3,4\n", f"{ROWS_RULE}, got 1 rating(s) with data.test_fraction 0.2"),
    ],
    ids=[
        "empty",
        "header only",
        "columns",
        "word",
        "NaN",
        "inf",
        "garbage",
        "NUL",
        "no UTF-8",
        "header",
        "one rating",
    ],
)
def test_bad_ratings_are_refused(sandbox, refused, content, message):
    (sandbox / "bad.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refused("prepare", "bad.csv", "--out", "out").startswith(f"reeltrain: {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "DATA: no such file or folder: missing.csv"),
        (["good.csv/u.data"], "DATA: no such file or folder: good.csv/u.data"),
        (
            ["nothing"],
            "DATA: a folder of ratings must have u.data, ratings.dat "
            "or CSV, TSV or Parquet files, got nothing",
        ),
        (["good.csv", "--set", "data.test_fraction=0"], f"{TEST_FRACTION_RULE}, got 0.0"),
        (["good.csv", "--set", "data.test_fraction=1"], f"{TEST_FRACTION_RULE}, got 1.0"),
        (["good.csv", "--set", "data.test_fraction=nan"], f"{TEST_FRACTION_RULE}, got nan"),
        (
            ["good.csv", "--set", "data.validation_fraction=1"],
            "data.validation_fraction must be at least 0 and below 1, got 1.0",
        ),
        (["good.csv", "--set", "data.split=u1"], f"{SPLIT_RULE} such as u1, got 'u1'"),
        (["generated", "--set", "data.split=u1"], f"{SPLIT_RULE} such as u1, got 'u1'"),
        (["good.csv", "--set", "data.fraction=0.2"], "unknown setting 'data.fraction'; known: data.format,"),
        (["good.csv", "--set", "data.test_fraction=few"], "data.test_fraction must be float, got 'few'"),
        (["good.csv", "--set", "train.epochs=3"], "prepare takes only data.* settings, got 'train.epochs=3'"),
        (
            ["good.csv", "--bad-rows", "keep"],
            "Invalid value for '--bad-rows': 'keep' is not one of 'error', 'drop'.",
        ),
        (["good.csv", "--columns", "user=a,time=b"], "data.columns takes user=COLUMN, item=COLUMN, rating="),
        (
            ["good.csv", "--columns", "user=who"],
            "good.csv:1: the header needs the column 'who' that data.col",
        ),
        (["good.csv", "--users", "people.csv"], "data.users: no such file: people.csv"),
        (
            ["good.csv", "--format", "csv", "--set", "data.format=csv"],
            "give --format or --set data.format, got both",
        ),
        (["good.csv", "--set", "data.fold=5"], "data.fold must be below data.folds (5), got 5"),
        (["good.csv", "other.csv"], "Got unexpected extra argument (other.csv)"),
        (["good.csv", "--fast"], "No such option '--fast'"),
    ],
)
def test_prepare_refuses(sandbox, refused, arguments, message):
    (sandbox / "nothing").mkdir()
    assert refused("prepare", *arguments, "--out", "out").startswith(f"reeltrain: {message}")


def test_prepare_needs_an_out_folder(refused):
    assert refused("prepare", "good.csv") == "reeltrain: Missing option '--out'."


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (".", ".: the output folder must be new or empty, got a folder with files in it"),
        ("good.csv", "good.csv: the output folder must be new or empty, got a file"),
        ("good.csv/out", "good.csv/out: the output folder must be inside a folder, got the file good.csv"),
    ],
)
def test_prepare_writes_into_a_new_or_empty_folder_only(refused, out, message):
    assert refused("prepare", "good.csv", "--out", out) == f"reeltrain: {message}"


def test_a_prepared_dataset_is_not_prepared_again(sandbox, refused):
    prepare_good(sandbox / "prepared")
    message = "reeltrain: DATA must be ratings, got the prepared dataset prepared"
    assert refused("prepare", "prepared", "--out", "out") == message


def test_a_predefined_pair_needs_both_files_and_takes_no_fraction(tiny_ratings, refused):
    def refusal(*settings):
        options = [each for setting in settings for each in ("--set", setting)]
        return refused("prepare", tiny_ratings, "--out", "out", *options)

    missing = tiny_ratings / "u1.base"
    message = f"reeltrain: data.split 'u1' needs the file {missing}, which is missing"
    assert refusal("data.split=u1") == message
    rule = "reeltrain: data.test_fraction is for the random and per-user and time split"
    message = f"{rule}, got 0.3 with data.split 'u1'"
    assert refusal("data.split=u1", "data.test_fraction=0.3") == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good.csv", "--recipe", "articel"], "recipe must be one of article, "),
        (["good.csv", "--set", "train.epoch=3"], "unknown setting 'train.epoch'; known: train.epochs,"),
        (["good.csv", "--set", "train.epochs=three"], "train.epochs must be int, got 'three'"),
        (["good.csv", "--set", "train.epochs"], "a setting has the form part.key=value, got 'train.epochs'"),
        (["missing.csv"], "DATA: no such file or folder: missing.csv"),
        (
            ["good.csv", "--workdir", "good.csv"],
            "good.csv: the workdir must be a folder, got the file good.csv",
        ),
        (["good.csv", "--workdir", "."], ".: the workdir must be new, empty or a run's, got ['good.csv']"),
    ],
)
def test_train_refuses_before_it_loads_tensorflow(refused, arguments, message):
    assert refused("train", *arguments).startswith(f"reeltrain: {message}")


def prepare_good(out):
    """The good ratings as a prepared dataset; returns it with the recipe's configuration."""
    config = make_config("article", RECIPES)
    return config, prepare_dataset(open_source("good.csv", config.data), config.data, out)


@pytest.fixture
def begun_run(sandbox):
    """The workdir of a run of the article recipe on the good ratings, with a name of a checkpoint."""
    workdir = Workdir(sandbox / "run")
    workdir.start(*prepare_good(sandbox / "run" / "dataset"), precision="float32")
    workdir.checkpoints.mkdir()
    (workdir.checkpoints / "ckpt-1.index").touch()
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["good.csv", "--set", "train.replicas=3"],
            "train.global_batch_size (32) must be a multiple of the replicas (3 = 1 worker x 3)",
        ),
        (
            ["good.csv", "--set", "train.replicas=4096", "--set", "train.global_batch_size=4096"],
            "train.replicas must be at most ",
        ),
        (["bad.csv"], "bad.csv:102: rating must be a finite number, got 'NaN': '1,2,NaN,4'"),
        (["bad.csv", "--workdir", "new/run"], "bad.csv:102: rating must be a finite number"),
        (["good.csv", "--set", "data.test_fraction=1"], f"{TEST_FRACTION_RULE}, got 1.0"),
        (["one.csv", "--workdir", "new/run"], f"{ROWS_RULE}, got 1 rating(s)"),
    ],
)
def test_train_refuses_and_begins_no_run(sandbox, refused, arguments, message):
    (sandbox / "bad.csv").write_text(GOOD + "1,2,NaN,4\n")
    (sandbox / "one.csv").write_text(HEADER + "1,2,3,4\n")
    assert refused("train", *arguments).startswith(f"reeltrain: {message}")


@pytest.mark.slow
def test_train_refuses_a_workdir_of_another_dataset(sandbox, refused, begun_run):
    (sandbox / "other.csv").write_text(GOOD.replace(",5,0\n", ",4,0\n"))
    line = refused("train", "other.csv", "--workdir", "run")
    assert line.startswith("reeltrain: run: this run was started with another dataset (")
    assert json.loads(begun_run.config_file.read_text())["dataset"]["source_fingerprint"][:12] in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.embedding_dim=6", "model.embedding_dim=5, got 6"),
        ("train.seed=1", "train.seed=0, got 1"),
        ("data.split_seed=1", "data.split_seed=42, got 1"),
        ("optimizer.learning_rate=0.1", "optimizer.learning_rate=0.001, got 0.1"),
    ],
)
@pytest.mark.usefixtures("begun_run")
def test_train_refuses_a_workdir_of_other_settings(refused, setting, message):
    line = refused("train", "good.csv", "--workdir", "run", "--set", setting)
    assert line == f"reeltrain: run: this run was started with {message}; give another --workdir"


@pytest.mark.slow
def test_train_refuses_to_split_a_prepared_dataset_again(sandbox, refused):
    prepare_good(sandbox / "prepared")
    setting = "data.test_fraction=0.3"
    line = refused("train", "prepared", "--set", setting)
    assert line == f"reeltrain: prepared is prepared, its split is fixed: {setting!r} has no effect"


@pytest.mark.slow
@pytest.mark.parametrize(
    "tf_config",
    [
        "garbage",
        "[]",
        "{}",
        '{"cluster": 3, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 5}}',
        '{"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": ["127.0.0.1:1"]}}',
    ],
)
def test_train_refuses_a_tf_config_that_names_no_worker(refused, monkeypatch, tf_config):
    monkeypatch.setenv("TF_CONFIG", tf_config)
    line = refused("train", "good.csv")
    rule = "TF_CONFIG must name a cluster of workers and this process's task"
    assert line.startswith(f"reeltrain: {rule}, got {tf_config!r}")


@pytest.mark.slow
def test_several_workers_must_be_told_the_data(refused, monkeypatch):
    cluster = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}}))
    assert refused("train").startswith("reeltrain: DATA must be given if several workers train, got none")


@pytest.mark.parametrize("verb", [["evaluate"], ["predict"], ["recommend", "--user", "1"]])
@pytest.mark.parametrize("workdir", ["missing", "good.csv", "."])
def test_a_folder_without_a_run_is_refused(refused, verb, workdir):
    line = refused(verb[0], workdir, *verb[1:])
    assert line == f"reeltrain: {workdir}: must be the workdir of a run, with a config.json; none found"


@pytest.mark.parametrize("verb", ["evaluate", "predict", "recommend"])
def test_without_any_run_the_newest_cannot_be_meant(refused, verb):
    assert refused(verb) == "reeltrain: WORKDIR: no run found under runs/; train one, or name its folder"


def test_a_run_whose_dataset_is_another_now_is_refused(sandbox, refused, begun_run):
    was = json.loads(begun_run.config_file.read_text())["dataset"]["fingerprint"]
    shutil.rmtree(begun_run.dataset)
    (sandbox / "good.csv").write_text(GOOD + "77,77,5,0\n")
    _, dataset = prepare_good(sandbox / "prepared")
    dataset.path.rename(begun_run.dataset)
    line = refused("evaluate", "run")
    assert line.startswith(f"reeltrain: run: was trained on version {was[:12]} of the dataset ")
    assert f"dropped or replaced: it has {dataset.fingerprint[:12]}; " in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "run", "--user", "1"], "--user and --item go together, got only --user"),
        (["predict", "run", "--item", "1"], "--user and --item go together, got only --item"),
        (
            ["predict", "run", "--user", "1", "--item", "1", "--pairs", "p.csv"],
            "give --pairs or --user and --item, got both",
        ),
        (["predict", "run", "--pairs", "missing.csv"], "--pairs: no such file: missing.csv"),
        (
            ["predict", "run", "--pairs", "columns.csv"],
            "--pairs: columns.csv needs one column user_id and one item_id, got ['who', 'movie']",
        ),
        (
            ["predict", "run", "--pairs", "empty.csv"],
            "--pairs: empty.csv needs a header line, got an empty file",
        ),
        (["predict", "run", "--pairs", "garbage.csv"], "garbage.csv:1: a ratings file is UTF-8 text, got "),
        (["predict", "run", "--pairs", "fields.csv"], "fields.csv:3: a row has 2 columns, got 4: '1,2,3,4'"),
        (["predict", "run", "--pairs", "no_id.csv"], "no_id.csv:2: user_id and item_id must not be empty: "),
        (["recommend", "run", "-k", "0"], "Invalid value for -k: k must be at least 1, got 0"),
        (
            ["recommend", "run", "-k", "-3"],
            "Invalid value for -k: k must be at least 1, got -3",
        ),
        (["recommend", "run", "-k", "ten"], "Invalid value for '-k': 'ten' is not a valid integer."),
        (["forecast"], "No such command 'forecast'."),
        (["evaluate", "run", "--fast"], "No such option '--fast'"),
        (["launch", "local", "--workers", "0"], "Invalid value for '--workers': 0 is not in the range x>=1."),
        (["launch", "local", "--workers", "2"], "launch starts `train` with its arguments after --, got []"),
        (
            ["launch", "local", "--workers", "2", "--", "evaluate"],
            "launch starts `train` with its arguments after --, got ['evaluate'",
        ),
    ],
)
@pytest.mark.usefixtures("begun_run")
def test_other_verbs_refuse(sandbox, refused, arguments, message):
    (sandbox / "columns.csv").write_text("who,movie\n1,2\n")
    (sandbox / "fields.csv").write_text("user_id,item_id\n1,2\n1,2,3,4\n")
    (sandbox / "no_id.csv").write_text("user_id,item_id\n,2\n")
    (sandbox / "empty.csv").write_text("")
    (sandbox / "garbage.csv").write_bytes(b"\xff" + GARBAGE)
    line = refused(*arguments, json_option="--" not in arguments)
    assert line.startswith(f"reeltrain: {message}")


@pytest.mark.parametrize("data", [[1, 2], {"user_id": [1]}, 3])
def test_data_must_be_a_path_or_a_frame(data):
    with pytest.raises(UserError, match=f"DATA must be a path or a DataFrame, got {type(data).__name__}"):
        open_source(data, DataConfig())


def test_the_process_itself_ends_with_status_2_and_one_line(sandbox, run_cli):
    (sandbox / "bad.csv").write_text(GOOD + "1,2,x,4\n")
    before = listing(sandbox)
    done = run_cli("prepare", "bad.csv", "--out", "out", "--json", cwd=sandbox, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    message = "bad.csv:102: rating must be a finite number, got 'x': '1,2,x,4'"
    assert done.stderr.splitlines()[-1] == f"reeltrain: {message}"
    assert "Traceback" not in done.stderr
    assert listing(sandbox) == before


def test_debug_shows_the_traceback(run_cli):
    done = run_cli("--debug", "prepare", "missing.csv", "--out", "out", check=False)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "no such file or folder: missing.csv" in done.stderr
