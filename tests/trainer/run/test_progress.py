"""What a person sees while training runs."""

import io
import subprocess
import sys
import time

import pytest

from support import runs
from trainer.run import progress
from trainer.run.progress import TrainProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def make_progress(*, quiet=False):
    return TrainProgress(first_step=0, last_step=20, epochs=2, steps_per_epoch=10, quiet=quiet)


def test_without_a_terminal_there_is_a_line_an_epoch(capsys):
    shown = make_progress()
    shown.update(5, loss=1.25, examples_per_sec=1000.0)
    assert capsys.readouterr().err == ""
    shown.epoch_end(10, {"loss": 1.5, "val_loss": 9.9, "val_rmse": 0.75}, examples_per_sec=12345.6)
    shown.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("epoch 1/2  step 10/20  loss 1.5000  val_rmse 0.7500  12,346 examples/s  ")
    assert line.endswith(" s left")


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


def test_a_terminal_shows_a_bar_from_the_start(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = make_progress()
    shown.update(5, loss=1.25, examples_per_sec=1000.0)
    shown.epoch_end(10, {"loss": 1.5}, examples_per_sec=1000.0)
    shown.close()
    text = terminal.getvalue()
    assert "compiling" in text
    assert "epoch 1/2  step 10/20  loss 1.5000" in text


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
