"""What a call of `train` does once, and what it does in order."""

import json

import pytest

import reeltrain
from data_pipeline.sources import open_source as opening
from data_pipeline.sources.generated import generate_ratings
from launch.main import main
from trainer.run import data as run_data
from trainer.workdir.checkpoint import Checkpoints
from trainer.workdir.scalars import LossCurve
from trainer.workdir.workdir import Workdir

SETTINGS = {"train.global_batch_size": 64, "data.validation_fraction": 0.1}


@pytest.fixture(scope="module")
def frame():
    return generate_ratings(num_users=30, num_items=40, num_ratings=600, seed=1).table.to_pandas()


def record(monkeypatch, owner, name, calls, label=None):
    """Appends to `calls` whenever a function is called."""
    original = getattr(owner, name)

    def recorded(*arguments, **options):
        calls.append(label or name)
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, recorded)


@pytest.mark.slow
def test_each_call_writes_the_configuration_once(frame, tmp_path, monkeypatch):
    calls = []
    record(monkeypatch, Workdir, "start", calls)
    for epochs in (1, 2):
        settings = {**SETTINGS, "train.epochs": epochs}
        reeltrain.train(frame, settings=settings, workdir=tmp_path, quiet=True)
        assert calls == ["start"] * epochs
        assert json.loads((tmp_path / "config.json").read_text())["config"]["train"]["epochs"] == epochs


def test_the_command_line_opens_the_ratings_once(frame, tmp_path, monkeypatch, capsys):
    frame.to_csv(tmp_path / "ratings.csv", index=False)
    calls = []
    for owner in (opening, run_data):
        record(monkeypatch, owner, "open_source", calls)
    main(
        [
            "train",
            str(tmp_path / "ratings.csv"),
            "--workdir",
            str(tmp_path / "run"),
            "--set",
            "train.epochs=1",
        ]
    )
    assert calls == ["open_source"]
    assert f"data      {tmp_path / 'ratings.csv'}" in capsys.readouterr().err


def test_a_loop_trains_logs_evaluates_and_saves_in_this_order(frame, tmp_path, monkeypatch):
    from trainer.engine.engine import Engine
    from trainer.evaluation.validation import Monitor

    calls = []
    record(monkeypatch, Engine, "train_block", calls, "block")
    record(monkeypatch, LossCurve, "add", calls, "log")
    record(monkeypatch, Monitor, "validation", calls, "evaluate")
    record(monkeypatch, Checkpoints, "save", calls, "checkpoint")
    settings = {**SETTINGS, "train.epochs": 2, "train.steps_per_loop": 4}
    result = reeltrain.train(frame, settings=settings, workdir=tmp_path, quiet=True)
    assert result.step == 14  # 420 training rows: 7 steps per epoch, in blocks of 4 and 3
    assert calls == [*["block", "log"] * 2, "evaluate", "checkpoint"] * 2


@pytest.mark.slow
def test_quiet_shows_nothing_and_otherwise_lines_go_to_stderr(frame, tmp_path, capfd):
    reeltrain.train(frame, settings={**SETTINGS, "train.epochs": 1}, workdir=tmp_path / "a", quiet=True)
    assert capfd.readouterr() == ("", "")
    reeltrain.train(frame, settings={**SETTINGS, "train.epochs": 1}, workdir=tmp_path / "b")
    out, err = capfd.readouterr()
    assert out == ""
    for beginning in (
        "data      a DataFrame",
        "recipe    article",
        "devices   1 worker",
        "workdir   ",
        "epoch 1/1",
    ):
        assert f"\n{beginning}" in f"\n{err}"
