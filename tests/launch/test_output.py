"""Output for people: one screen, files of metrics, commands to paste, any encoding of stdout."""

import csv
import functools
import io
import json
import os
import shlex
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.open_source import open_source
from launch.evaluation_tables import screen
from launch.main import main
from launch.metrics_file import Metric, metrics_of, write_metrics
from launch.tables import quoted, table
from support import runs
from trainer.config import RECIPES, Config, make_config
from trainer.evaluation.evaluate import Evaluation
from trainer.run.plan import recipe_and_changes

SCREEN_LINES, SCREEN_COLUMNS = 24, 100
FIELDS = ["slice", "recommender", "metric", "value", "sd"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder whose name has a blank, with a run that predicts ratings and one that ranks."""
    folder = tmp_path_factory.mktemp("output") / "my project"
    folder.mkdir()
    data = runs.prepare_generated(folder / "dataset", num_train=1000, num_validation=100, num_test=100)
    runs.train(data, folder / "rating run", {"train.epochs": 2})
    runs.train(data, folder / "ranking run", {"train.epochs": 2}, recipe="mf-ranking")
    return folder


@functools.cache
def run(folder, *arguments, **environment):
    done = subprocess.run(
        [str(runs.python()), "-m", "launch.main", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done


def stdout(folder, *arguments, **environment):
    return run(folder, *arguments, **environment).stdout.decode()


def rows_of(text):
    """Name -> cells of the screen's table, whose columns are two blanks or more apart."""
    _, block, _ = text.split("\n\n")
    heads, *lines = (
        [each.strip() for each in line.split("  ") if each.strip()] for line in block.splitlines()
    )
    return heads, {name: cells for name, *cells in lines}


def is_one_screen(text):
    lines = text.splitlines()
    return len(lines) <= SCREEN_LINES and all(len(line) <= SCREEN_COLUMNS for line in lines)


@pytest.mark.slow
def test_evaluate_prints_one_screen_of_a_run_that_predicts_ratings(folder):
    text = stdout(folder, "evaluate", "rating run")
    result = json.loads(stdout(folder, "evaluate", "rating run", "--json"))
    assert is_one_screen(text)
    assert "random" in text.splitlines()[0]
    assert "1,000 train, 100 validation, 100 test rows" in text.splitlines()[0]
    assert text.splitlines()[1].startswith("judged on the 100 test rows of dataset version ")
    assert text.splitlines()[2].startswith("ranking: ")
    heads, rows = rows_of(text)
    assert heads == ["RMSE", "MAE", "NDCG@10", "recall@10", "HR@10", "coverage@10"]
    assert list(rows) == ["model", "global mean", "user + item bias", "popularity", "ease", "mf"]
    keys = ["rmse", "mae", "ndcg@10", "recall@10", "hr@10", "coverage@10"]
    assert [cell.strip("*") for cell in rows["model"]] == [f"{result['test'][key]:.4f}" for key in keys]
    assert [cell.strip("*") for cell in rows["ease"]][2:] == [
        f"{result['baselines']['ease'][key]:.4f}" for key in keys[2:]
    ]
    assert "--full" in text.splitlines()[-1]


@pytest.mark.slow
def test_the_best_values_are_marked(folder):
    result = json.loads(stdout(folder, "evaluate", "rating run", "--json"))
    _, rows = rows_of(stdout(folder, "evaluate", "rating run"))
    scores = {"model": result["test"], **result["baselines"]}
    names = {"global_mean": "global mean", "user_item_bias": "user + item bias"}
    for column, (key, best) in enumerate([("rmse", min), ("mae", min), ("ndcg@10", max), ("recall@10", max)]):
        found = {name: round(metrics[key], 4) for name, metrics in scores.items() if key in metrics}
        expected = {names.get(name, name) for name, value in found.items() if value == best(found.values())}
        assert {name for name, cells in rows.items() if cells[column].endswith("*")} == expected
    assert not any(cells[-1].endswith("*") for cells in rows.values())  # coverage


@pytest.mark.slow
def test_evaluate_prints_one_screen_of_a_run_that_ranks(folder):
    text = stdout(folder, "evaluate", "ranking run", "-k", "3,7", "--positive-from", "4")
    assert is_one_screen(text)
    assert "relevant: test items rated >= 4" in text
    heads, rows = rows_of(text)
    assert heads == ["NDCG@7", "recall@7", "HR@7", "coverage@7"]
    assert list(rows) == ["model", "user + item bias", "popularity", "ease", "mf-ranking"]
    assert "RMSE" not in text


class LargeDataset:
    """What a screen reads of a large dataset with a long name."""

    name = "a-dataset-with-a-name-of-sixty-characters-that-is-rather-long"
    version = "0123456789ab"
    settings = DataConfig()
    rating_scale = (0.5, 5.0)
    items = range(1_234_567)

    def num_rows(self, split):
        return {"train": 999_999_999, "validation": 99_999_999, "test": 199_999_999}[split]


def test_the_screen_of_a_large_dataset_fits_too():
    keys = ["rmse", "mae", *(f"{name}@10" for name in ("ndcg", "recall", "hr", "coverage"))]
    protocol = "\n".join(
        ["split", *(f"{name}: left out, {'it is too large ' * 8}" for name in ("ease", "mf"))]
    )
    counts = {
        name: {"rows": 199_999_999, "users": 99_999_999}
        for name in ("all", "warm", "cold_users", "cold_items")
    }
    names = ["global_mean", "user_item_bias", "popularity", "ease", "mf"]
    evaluations = [
        Evaluation(
            test=dict.fromkeys(keys, value),
            baselines={name: dict.fromkeys(keys, value) for name in names},
            slices={"cold_users": {"model": {"rmse": value}}, "cold_items": {"model": {"rmse": value}}},
            counts=counts,
            ks=[5, 10],
            protocol=protocol,
        )
        for value in (10.1, 99.9)
    ]
    for seeds in (evaluations[:1], evaluations):
        text = screen(seeds, LargeDataset(), is_ranking=False, positive_from=3.5)
        assert is_one_screen(text)
        assert "ease: left out, it is too large" in text
        assert ("+-" in text) == (len(seeds) > 1)


@pytest.mark.slow
def test_without_rankings_the_screen_has_errors_only(folder):
    text = stdout(folder, "evaluate", "rating run", "--no-ranking", "--no-mf")
    assert is_one_screen(text)
    heads, rows = rows_of(text)
    assert heads == ["RMSE", "MAE"]
    assert list(rows) == ["model", "global mean", "user + item bias"]
    assert "predictions clipped to [1, 5]" in text


@pytest.mark.slow
def test_seeds_have_a_spread_on_one_screen_and_in_the_file(folder):
    command = ["evaluate", "rating run", "--seeds", "2", "--no-mf"]
    text = stdout(folder, *command)
    fields = json.loads(stdout(folder, *command, "--out", "seeds.csv", "--json"))
    assert is_one_screen(text)
    assert "training seeds 0 to 1" in text
    assert f"{fields['test']['rmse']:.4f} +- {fields['test_sd']['rmse']:.4f}" in text
    _, rows = rows_of(text)
    assert "+-" not in rows["global mean"][0]  # no seed changes it
    read = {
        (row["recommender"], row["metric"]): row
        for row in read_csv(folder / "seeds.csv")
        if row["slice"] == "all"
    }
    for key, mean in fields["test"].items():
        assert float(read["model", key]["value"]) == mean
        assert float(read["model", key]["sd"]) == fields["test_sd"][key]
    assert float(read["ease", "ndcg@10"]["sd"]) == 0
    full = stdout(folder, *command, "--full")
    for key in ("rmse", "mae", "map@10", "novelty@10", "sampled/hr@10"):
        assert f"{fields['test'][key]:.4f}" in full


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rating run", "ranking run"])
def test_full_prints_the_whole_protocol_and_all_metrics(folder, name):
    result = json.loads(stdout(folder, "evaluate", name, "--json"))
    text = stdout(folder, "evaluate", name, "--full")
    assert text.startswith(result["protocol"])
    for metrics in (result["test"], *result["baselines"].values()):
        # The other sampled metrics follow from HR and MRR: each list has one relevant item.
        kept = [
            value
            for key, value in metrics.items()
            if not key.startswith("sampled/")
            or key.startswith(("sampled/ndcg", "sampled/hr", "sampled/mrr@20"))
        ]
        assert all(f"{value:.4f}" in text for value in kept)
    for slice_name, counts in result["counts"].items():
        if slice_name != "all":
            assert f"{slice_name.replace('_', ' ')}: {counts['rows']:,} rows" in text


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_a_file_of_metrics_has_the_numbers_of_json(folder, suffix):
    file = folder / f"all metrics{suffix}"
    file.write_text("old")
    options = ("evaluate", "rating run", "--no-mf", "--negatives", "9")
    done = run(folder, *options, "--out", file.name)
    result = json.loads(stdout(folder, *options, "--json"))
    expected = {("all", "model", key): value for key, value in result["test"].items()}
    for name, metrics in result["baselines"].items():
        expected |= {("all", name, key): value for key, value in metrics.items()}
    for slice_name, recommenders in result["slices"].items():
        for name, metrics in recommenders.items():
            expected |= {(slice_name, name, key): value for key, value in metrics.items()}
    rows = READERS[suffix](file)
    assert all(list(row) == FIELDS and row["sd"] in (None, "") for row in rows)
    assert {
        (row["slice"], row["recommender"], row["metric"]): float(row["value"]) for row in rows
    } == expected
    assert len(rows) == len(expected)
    assert [path.name for path in folder.glob(".*")] == []
    assert b"metrics   'all metrics" in done.stderr


def read_csv(file):
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


READERS = {
    ".csv": read_csv,
    ".parquet": lambda file: pq.read_table(file).to_pylist(),
    ".json": lambda file: json.loads(file.read_text()),
}


def test_a_metric_over_seeds_has_mean_and_sd_and_is_left_out_if_a_seed_lacks_it():
    def evaluation(test, baselines):
        return Evaluation(test=test, baselines=baselines, slices={}, counts={}, ks=[1], protocol="")

    found = metrics_of(
        [evaluation({"rmse": 1.0, "map@1": 0.5}, {"bias": {"rmse": 2.0}}), evaluation({"rmse": 2.0}, {})]
    )
    assert found == [
        Metric("all", "model", "rmse", 1.5, pytest.approx(0.5**0.5)),
        Metric("all", "bias", "rmse", 2.0, 0.0),
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "metrics.json"
    file.write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_metrics(file, [Metric("all", "model", "rmse", float("nan"), None)])
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("metrics.txt", "the file must end in .csv, .parquet or .json, got metrics.txt"),
        ("metrics", "the file must end in .csv, .parquet or .json, got metrics"),
        ("missing/metrics.csv", "the file must be in an existing folder, got missing/metrics.csv"),
        ("folder.csv", "must be a file, got the folder folder.csv"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_first(tmp_path, monkeypatch, capsys, out, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "no-run", "--out", out])  # that there is no run is found later
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"reeltrain: Invalid value for '--out': {message}\n"


@pytest.mark.slow
def test_printed_commands_and_paths_can_be_pasted(folder):
    done = run(folder, "train", "dataset", "--workdir", "rating run", "--set", "train.epochs=2")
    (line,) = [line for line in done.stdout.decode().splitlines() if line.startswith("curves: ")]
    command, option, workdir = shlex.split(line.removeprefix("curves: "))
    assert os.path.basename(command) == "tensorboard"
    assert (
        shutil.which(command, path=os.environ["PATH"] + os.pathsep + str(folder))
        or (folder / command).exists()
    )
    assert (option, workdir) == ("--logdir", "rating run")
    assert "workdir   'rating run'" in done.stderr.decode().splitlines()


def test_a_prepared_folder_is_printed_to_paste(tmp_path, capsys):
    main(["prepare", "generated", "--out", str(tmp_path / "my data")])
    out, err = capsys.readouterr()
    assert shlex.split(out.splitlines()[-1]) == ["dataset:", str(tmp_path / "my data")]
    assert err.startswith("data      generated ratings")


@pytest.mark.slow
def test_titles_with_accents_do_not_fail_an_ascii_stdout(tiny_ratings, tmp_path):
    config = make_config("article", RECIPES, ["train.epochs=1"])
    prepare_dataset(open_source(tiny_ratings, config.data), config.data, tmp_path / "data")
    runs.train(tmp_path / "data", tmp_path / "run", {"train.epochs": 1})
    command = ["-m", "launch.main", "recommend", "run", "--user", "nobody", "-k", "40"]
    # Its own Python: a fork has the streams of the process that it was forked from.
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert b"Cit\\xe9 des enfants perdus, La (1995)" in done.stdout
    assert "Cité des enfants perdus, La (1995)" in stdout(tmp_path, *command[2:])


def test_cells_with_control_characters_stay_on_their_line(monkeypatch):
    text = table(["", "title"], [["1", "one\ntwo\x1b[31m"], ["2", "été"]], left=(0, 1))
    assert text.splitlines() == ["   title", "1  one\\ntwo\\x1b[31m", "2  été"]
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert table(["title", "n"], [["é", "1"], ["abcd", "2"]]).splitlines() == [
        "title  n",
        "\\xe9   1",
        "abcd   2",
    ]


def test_a_terminal_shows_the_best_values_bold(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    rows = [["a", "1.0"], ["b", "2.0"]]
    assert "\x1b" not in table(["", "x"], rows, bold={(1, 1)})
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[1m2.0\x1b[0m" in table(["", "x"], rows, bold={(1, 1)})
    assert "\x1b[1m1.0\x1b[0m" not in table(["", "x"], rows, bold={(1, 1)})


def test_the_plan_has_only_settings_that_differ_from_the_recipe():
    settings = [
        *(
            "train.epochs=2",
            "model.hidden_units=8,4",
            "objective.positive_from=4",
            "optimizer.learning_rate=0.01",
        ),
        *("data.columns=user=the user,item=i", "model.dropout=0.0"),
    ]
    text = recipe_and_changes(make_config("mf", RECIPES, settings))
    recipe, separator, *changes = shlex.split(text)
    assert (recipe, separator) == ("mf", "with")
    assert len(changes) == 5
    again = make_config("mf", RECIPES, changes)
    assert again == make_config("mf", RECIPES, settings)
    assert recipe_and_changes(make_config("two-tower", RECIPES)) == "two-tower"
    # `none` is how `--set` takes nothing.
    none = make_config("neumf", RECIPES, ["model.hidden_units=none"])
    assert recipe_and_changes(none) == "neumf with model.hidden_units=none"


def test_a_configuration_of_an_unknown_recipe_is_compared_with_the_defaults():
    assert recipe_and_changes(Config("of tomorrow")) == "of tomorrow"


@pytest.mark.slow
def test_train_prints_a_short_plan(folder):
    arguments = ["dataset", "--workdir", "short plan", "--set", "train.epochs=2"]
    lines = run(folder, "train", *arguments).stderr.decode().splitlines()
    heads = [line.split(" ")[0] for line in lines]
    plan = lines[heads.index("data") : heads.index("tables") + 1]
    assert [line[:10].strip() for line in plan if line[:10].strip()] == [
        *("data", "recipe", "devices", "batches", "workdir", "tables")
    ]
    assert len(plan) <= 8
    (recipe,) = [line for line in plan if line.startswith("recipe")]
    assert recipe.startswith("recipe    article with data.test_fraction=0.08")  # of the prepared dataset
    assert recipe.endswith(" train.epochs=2; all settings are in config.json")
    assert "seed" not in recipe
    assert (
        "batches   32 rows = 1 worker x 1 replica x 32 rows; 32 steps per epoch, 32 per compiled call" in plan
    )


def test_help_has_no_summary_that_is_cut(capsys):
    main(["--help"])
    text = capsys.readouterr().out
    assert text.isascii()
    assert "..." not in text.partition("Commands:")[2]
    assert max(map(len, text.splitlines())) <= 80


def test_quiet_shows_no_status_messages(tmp_path, capsys):
    main(["--quiet", "prepare", "generated", "--out", str(tmp_path / "one")])
    assert capsys.readouterr().err == ""
    main(["prepare", "generated", "--out", str(tmp_path / "two")])
    assert capsys.readouterr().err.startswith("data ")


def test_words_are_quoted_for_a_shell():
    assert shlex.split(quoted("a b", "c")) == ["a b", "c"]
