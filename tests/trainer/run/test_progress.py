"""What a person sees while training runs."""

import io
import subprocess
import sys
import time

import pytest

from data_pipeline.logs import shown as logged
from support import runs
from trainer.run import progress
from trainer.run.progress import TrainProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def make_progress(*, quiet=False):
    return TrainProgress(first_step=0, last_step=20, epochs=2, steps_per_epoch=10, quiet=quiet)


@pytest.fixture(autouse=True)
def log_lines():
    """As in a call of `train`."""
    with logged():
        yield


@pytest.fixture
def slow_epochs(monkeypatch):
    monkeypatch.setattr(progress, "EPOCH_LINE_SECS", 0.0)


@pytest.mark.usefixtures("slow_epochs")
def test_without_a_terminal_there_is_a_line_per_epoch(capsys):
    shown = make_progress()
    shown.update(5, loss=1.25, examples_per_sec=1000.0)
    assert capsys.readouterr().err == ""
    shown.epoch_end(10, {"loss": 1.5, "val_loss": 9.9, "val_rmse": 0.75}, examples_per_sec=12345.6)
    shown.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("epoch 1/2  step 10/20  loss 1.5000  val_rmse 0.7500  12,346 examples/s  ")
    assert line.endswith(" s left")


def test_short_epochs_share_a_line_and_the_last_one_has_it(capsys):
    shown = make_progress()
    for step in (10, 20):
        shown.epoch_end(step, {"loss": step / 10}, examples_per_sec=None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("epoch 2/2  step 20/20  loss 2.0000  ")


def test_short_epochs_have_a_line_per_second(capsys, monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    shown = TrainProgress(first_step=0, last_step=100, epochs=10, steps_per_epoch=10, quiet=False)
    for epoch in range(1, 11):
        now += 0.4
        shown.epoch_end(10 * epoch, {"loss": 1.0}, examples_per_sec=None)
    epochs = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert epochs == ["3/10", "6/10", "9/10", "10/10"]


def test_a_long_epoch_has_lines_between(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_SECS", -1.0)
    shown = make_progress()
    shown.update(15, loss=1.25, examples_per_sec=None)
    assert capsys.readouterr().err.startswith("epoch 2/2  step 15/20  loss 1.2500  ")


def test_quiet_shows_nothing(capsys):
    shown = make_progress(quiet=True)
    shown.update(5, loss=1.0, examples_per_sec=1.0)
    shown.epoch_end(10, {"loss": 1.0}, examples_per_sec=1.0)
    shown.close()
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("slow_epochs")
def test_a_terminal_shows_a_bar_from_the_start(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = make_progress()
    shown.update(5, loss=1.25, examples_per_sec=1000.0)
    shown.epoch_end(10, {"loss": 1.5}, examples_per_sec=1000.0)
    shown.close()
    text = terminal.getvalue()
    assert "compiling" in text
    assert "\r\x1b[2Kepoch 1/2  step 10/20  loss 1.5000" in text  # the line takes the place of the bar


@pytest.mark.slow
def test_something_is_shown_within_five_seconds(tmp_path):
    data = runs.prepare_generated(tmp_path / "dataset", num_train=100, num_test=50)
    begun = time.monotonic()
    with subprocess.Popen(
        runs.train_command(data, tmp_path / "run", {}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        first_line = process.stderr.readline()
        secs = time.monotonic() - begun
        process.kill()
        process.stderr.read()
    assert b"loading TensorFlow" in first_line
    assert secs < 5
