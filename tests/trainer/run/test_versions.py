"""A run keeps the version of its dataset: it serves, is judged and goes on with it after appends."""

import json
import shutil

import keras
import pandas as pd
import pytest

import reeltrain
from data_pipeline.sources.generated import generate_ratings
from launch.main import main
from support import runs

pytestmark = pytest.mark.slow
SETTINGS = {"train.epochs": 1, "train.global_batch_size": 64}


def frame(num_users, num_items, num_ratings, seed):
    ratings = generate_ratings(num_users=num_users, num_items=num_items, num_ratings=num_ratings, seed=seed)
    return ratings.table.to_pandas()


OLD, NEW = frame(40, 30, 600, 1), frame(60, 50, 400, 2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a dataset `d`, a run on it, and what it served before an append."""
    folder = tmp_path_factory.mktemp("versions")
    dataset = reeltrain.prepare(OLD, folder / "d")
    run = reeltrain.train(folder / "d", settings=SETTINGS, workdir=folder / "run", quiet=True).run
    served = {
        "version": dataset.version,
        "recommended": reeltrain.recommend(run, 3, k=50).items,
        "predicted": reeltrain.predict(run),
        "test": reeltrain.evaluate(folder / "run").test,
    }
    reeltrain.append(NEW, folder / "d")
    return folder, served


@pytest.fixture
def place(made, tmp_path):
    """A copy of it, to be changed."""
    shutil.copytree(made[0], tmp_path / "place")
    return tmp_path / "place", made[1]


def shown(capsys, *arguments):
    """(stdout, stderr) of a command."""
    main([*map(str, arguments)])
    return capsys.readouterr()


def test_after_an_append_a_run_serves_as_before(place, capsys):
    folder, served = place
    run = folder / "run"
    pd.testing.assert_frame_equal(reeltrain.recommend(run, 3, k=50).items, served["recommended"])
    pd.testing.assert_frame_equal(reeltrain.predict(run), served["predicted"])
    # A user and an item that came with the append are unknown to this run.
    assert not reeltrain.predict(run, [(55, 45)])[["known_user", "known_item"]].to_numpy().any()
    present = reeltrain.open_dataset(folder / "d").version
    for verb in (["recommend", run, "--user", "3"], ["predict", run], ["evaluate", run, "--no-mf"]):
        notes = [line for line in shown(capsys, *verb).err.splitlines() if "version" in line]
        assert len(notes) == 1
        assert f"the run's version {served['version']} of the dataset is used" in notes[0]
        assert f"the present one, {present}, has" in notes[0]


def test_evaluate_says_which_rows_it_judges(place, capsys):
    folder, served = place
    evaluation = reeltrain.evaluate(folder / "run")
    assert evaluation.test == served["test"]
    num_test = round(0.2 * len(OLD))
    assert evaluation.dataset["rows"] == num_test
    assert evaluation.dataset["split"] == "test"
    assert evaluation.dataset["version"] == served["version"]
    line = f"judged on the {num_test} test rows of dataset version {served['version']}"
    assert line in evaluation.protocol.splitlines()
    text = shown(capsys, "evaluate", folder / "run", "--no-mf").out
    assert line in text.replace("\n", " ")
    result = json.loads(shown(capsys, "evaluate", folder / "run", "--no-mf", "--json").out)
    assert result["dataset"] == evaluation.dataset


def test_a_run_goes_on_with_its_version_and_a_new_run_takes_the_present_one(place, capsys):
    folder, served = place
    present = reeltrain.open_dataset(folder / "d")
    more = SETTINGS | {"train.epochs": 2}
    gone_on = reeltrain.train(folder / "d", settings=more, workdir=folder / "run").run
    error = capsys.readouterr().err
    assert f"the run's version {served['version']} of the dataset is used" in error
    assert "to train on its rows, give another workdir" in error
    assert gone_on.dataset.version == served["version"]
    # Independent: the same two epochs on a dataset that was never appended to.
    reeltrain.prepare(OLD, folder / "never")
    reeltrain.train(folder / "never", settings=more, workdir=folder / "whole", quiet=True)
    assert runs.largest_difference(runs.weights(folder / "run"), runs.weights(folder / "whole")) == 0
    new = reeltrain.train(folder / "d", settings=SETTINGS, workdir=folder / "new", quiet=True).run
    assert new.dataset.version == present.version


def test_runs_of_all_versions_serve_at_once_and_after_a_restore(place):
    folder, served = place
    present = reeltrain.open_dataset(folder / "d").version
    reeltrain.train(folder / "d", settings=SETTINGS, workdir=folder / "new", quiet=True)
    predicted = reeltrain.predict(folder / "new")
    reeltrain.restore_version(folder / "d", served["version"][:6])
    for _ in range(2):
        assert reeltrain.load_run(folder / "new").dataset.version == present
        pd.testing.assert_frame_equal(reeltrain.predict(folder / "new"), predicted)
        pd.testing.assert_frame_equal(reeltrain.predict(folder / "run"), served["predicted"])
        reeltrain.append(NEW.iloc[:7], folder / "d")


def test_a_former_version_can_be_trained_on_by_its_folder(place):
    folder, served = place
    former = folder / "d" / "versions" / served["version"]
    run = reeltrain.train(former, settings=SETTINGS, workdir=folder / "again", quiet=True).run
    pd.testing.assert_frame_equal(reeltrain.predict(run), served["predicted"])
    reeltrain.restore_version(folder / "d", served["version"])
    pd.testing.assert_frame_equal(reeltrain.predict(folder / "again"), served["predicted"])
    other = next(each for each in reeltrain.versions(folder / "d") if not each.is_present)
    with pytest.raises(reeltrain.UserError, match="started with another dataset"):
        reeltrain.train(other.path, settings=SETTINGS, workdir=folder / "again", quiet=True)


def test_an_append_during_a_run_changes_nothing_of_it(place):
    folder, served = place
    reeltrain.restore_version(folder / "d", served["version"])

    class Appends(keras.callbacks.Callback):
        def on_epoch_begin(self, _epoch, _logs=None):
            reeltrain.append(NEW.iloc[:50], folder / "d")

    run = reeltrain.train(
        folder / "d", settings=SETTINGS, workdir=folder / "meanwhile", callbacks=[Appends()], quiet=True
    ).run
    assert reeltrain.open_dataset(folder / "d").version != served["version"]
    pd.testing.assert_frame_equal(reeltrain.predict(run), served["predicted"])
    pd.testing.assert_frame_equal(reeltrain.predict(folder / "meanwhile"), served["predicted"])


def test_of_a_dropped_version_the_run_says_what_is_there_and_what_can_be_done(place, capsys):
    folder, served = place
    assert reeltrain.drop_versions(folder / "d", served["version"]) == [served["version"]]
    present = reeltrain.open_dataset(folder / "d").version
    for verb in (["recommend", folder / "run"], ["train", folder / "d", "--workdir", folder / "run"]):
        with pytest.raises(SystemExit) as caught:
            main([*map(str, verb)])
        assert caught.value.code == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert f"was trained on version {served['version']} of the dataset {folder / 'd'}" in line
        assert f"was dropped or replaced: it has {present}; put that version back" in line


def test_a_run_learns_where_its_dataset_was_moved_to(place):
    folder, served = place
    (folder / "d").rename(folder / "elsewhere")
    with pytest.raises(reeltrain.UserError, match=r"`reeltrain\.train\(DATASET, workdir='.*run'\)` records"):
        reeltrain.load_run(folder / "run")
    reeltrain.train(folder / "elsewhere", settings=SETTINGS, workdir=folder / "run", quiet=True)
    pd.testing.assert_frame_equal(reeltrain.predict(folder / "run"), served["predicted"])


def test_a_baseline_of_another_version_is_not_taken_for_this_ones(place):
    folder, _ = place
    reeltrain.evaluate(folder / "run", trained_baseline=True)
    reeltrain.train(folder / "d", settings=SETTINGS, workdir=folder / "new", quiet=True)
    shutil.copytree(folder / "run" / "baselines", folder / "new" / "baselines")
    with pytest.raises(reeltrain.UserError, match=r"must be trained on dataset version .* move the folder"):
        reeltrain.evaluate(folder / "new", trained_baseline=True)
