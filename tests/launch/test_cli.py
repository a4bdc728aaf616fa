"""The command line as scripts use it: JSON keys, streams, exit statuses, defaults."""

import json
import subprocess
import sys

import pytest

from support import runs


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a generated data set and one trained run."""
    folder = tmp_path_factory.mktemp("project")
    runs.prepare_generated(folder / "dataset", num_train=1000, num_validation=100, num_test=100)
    run(folder, "train", "dataset", "--workdir", "runs/first", "--set", "train.epochs=2")
    return folder


def run(folder, *arguments, check=True):
    # These load no TensorFlow.
    python = sys.executable if arguments[0] == "prepare" or not check else runs.python()
    done = subprocess.run(
        [str(python), "-m", "launch.main", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done


def run_json(folder, *arguments):
    """The JSON object; asserts that stdout holds nothing else."""
    (line,) = run(folder, *arguments, "--json").stdout.splitlines()
    return json.loads(line)


@pytest.mark.slow
def test_train_prints_the_promised_keys(project):
    result = run_json(project, "train", "dataset", "--workdir", "runs/first", "--set", "train.epochs=3")
    assert set(result) == {
        *("workdir", "recipe", "step", "replicas", "workers", "precision", "train_loss"),
        *("test_rmse", "test_mae", "test", "examples_per_sec"),
    }
    assert (result["recipe"], result["step"], result["replicas"], result["workers"]) == ("article", 96, 1, 1)
    assert 0.5 < result["test_mae"] < result["test_rmse"] < 2
    for name in ("config.json", "environment.json", "metrics.jsonl", "checkpoints", "tensorboard"):
        assert (project / "runs" / "first" / name).exists()
    environment = json.loads((project / "runs" / "first" / "environment.json").read_text())
    assert environment["tensorflow"].startswith("2.21.")


@pytest.mark.slow
def test_evaluate_prints_model_and_baselines(project):
    result = run_json(project, "evaluate", "runs/first", "-k", "7,3", "--negatives", "9")
    assert set(result["baselines"]) == {"global_mean", "user_item_bias", "popularity", "ease", "mf"}
    for name in ("global_mean", "user_item_bias"):
        assert {"rmse", "mae"} <= set(result["baselines"][name])
    ranked = {"rmse", "mae", "ndcg@3", "ndcg@7", "hr@7", "coverage@7", "sampled/ndcg@7"}
    assert ranked <= set(result["test"])
    assert set(result["slices"]) == {"warm", "cold_users", "cold_items"}
    assert result["counts"]["all"]["rows"] == 100
    assert "clipped to [1, 5]" in result["protocol"]
    text = run(project, "evaluate", "-k", "7", "--full").stdout
    for value in (result["test"]["rmse"], result["test"]["ndcg@7"], result["baselines"]["ease"]["hr@7"]):
        assert f"{value:.4f}" in text
    assert result["protocol"].splitlines()[0] in text
    assert "all unseen items, k = 7" in text


@pytest.mark.slow
def test_evaluate_without_ranking_prints_errors_only(project):
    result = run_json(project, "evaluate", "--no-ranking")
    assert set(result["baselines"]) == {"global_mean", "user_item_bias", "mf"}
    for errors in (result["test"], *result["baselines"].values()):
        assert set(errors) == {"rmse", "mae"}
    assert "NDCG" not in run(project, "evaluate", "--no-ranking").stdout


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("-k", "5,x"), "k must be integers of at least 1, separated by commas, got 5,x"),
        (("-k", "0"), "k must be integers of at least 1, separated by commas, got 0"),
        (("--negatives", "-1"), "-1 is not in the range x>=0"),
        (("--max-users", "0"), "0 is not in the range x>=1"),
    ],
)
def test_evaluate_refuses_what_it_cannot_rank_by(tmp_path, option, message):
    done = run(tmp_path, "evaluate", *option, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_predict_prints_ten_test_rows_a_pair_or_a_file(project):
    rows = run_json(project, "predict", "runs/first")["predictions"]
    assert len(rows) == 10
    assert all(1 <= row["predicted"] <= 5 and row["actual"] in (1, 2, 3, 4, 5) for row in rows)
    user, item = rows[0]["user_id"], rows[0]["item_id"]
    (one,) = run_json(project, "predict", "--user", str(user), "--item", str(item))["predictions"]
    assert one["predicted"] == pytest.approx(rows[0]["predicted"])
    assert one["actual"] is None
    (project / "pairs.csv").write_text(f"item_id,user_id\n{item},{user}\n{item},nobody\n")
    known, unknown = run_json(project, "predict", "--pairs", "pairs.csv")["predictions"]
    assert known["predicted"] == pytest.approx(rows[0]["predicted"])
    assert (unknown["user_id"], unknown["known_user"]) == ("nobody", False)
    assert "unknown user" in run(project, "predict", "--pairs", "pairs.csv").stdout


@pytest.mark.slow
def test_recommend_prints_titles_and_says_what_it_does_for_the_unknown(project):
    result = run_json(project, "recommend", "--user", "1", "-k", "7")
    assert (result["user_id"], result["known_user"]) == ("1", True)
    assert len(result["items"]) == 7
    assert set(result["items"][0]) == {"item_id", "title", "score"}
    assert result["items"][0]["title"].startswith("Generated movie ")
    text = run(project, "recommend", "--user", "nobody", "-k", "2").stdout
    assert "nobody is not in the training data: the items rated highest by all users" in text
    assert len(text.splitlines()) == 4
    text = run(project, "recommend", "--user", "1", "-k", "5000").stdout
    assert text.splitlines()[-1].endswith(" of 5000: the user has rated every other item")
    text = run(project, "recommend", "--user", "nobody", "-k", "5000").stdout
    assert text.splitlines()[-1].endswith(" of 5000: there are no other items")


@pytest.mark.slow
def test_predict_on_a_newest_run_says_which(project):
    done = run(project, "predict")
    assert "runs/first (the newest)" in done.stderr
    assert len(done.stdout.splitlines()) == 11


def test_prepare_prints_the_promised_keys(tmp_path):
    result = run_json(tmp_path, "prepare", "generated", "--out", "made")
    assert result["rows"] == 100_000
    assert result["dropped_rows"] == 0
    assert result["splits"] == {"train": 76_000, "validation": 4_000, "test": 20_000}
    assert (result["users"], result["dataset"]) == (943, "made")
    assert 0.7 < result["rmse_floor"] < 0.9
    assert (tmp_path / "made" / "manifest.json").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"]])
def test_help_loads_neither_tensorflow_nor_pandas(arguments):
    code = (
        "import sys; from launch.main import main\n"
        f"main({arguments!r})\n"
        "heavy = {'tensorflow', 'keras', 'pandas', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    assert "reeltrain" in done.stdout


def test_without_a_run_a_verb_says_what_is_missing(tmp_path):
    done = run(tmp_path, "evaluate", "--json", check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "reeltrain: WORKDIR: no run found under runs/; train one, or name its folder\n"
