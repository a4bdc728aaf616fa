"""A program run by `runs.python()`, a fork, behaves like one in a separate Python process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import runs

REPORT = """
import json, os, sys
sys.modules["sklearn"] = None  # as the command line does
import trainer.train
for name in ("PWD", "OLDPWD", "SHLVL", "_"):  # set by the shell that starts the client
    os.environ.pop(name, None)
print(json.dumps([sys.argv, os.getcwd(), sys.stdin.read(), sorted(os.environ.items()), __name__]))
print("on stderr", file=sys.stderr)
{end}
"""
WAIT_FOR_SIGNAL = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print("ready", flush=True)
time.sleep(60)
"""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("form", "end"),
    [
        ("-c", "sys.exit(3)"),
        ("file", "raise ValueError('bad')"),
        ("-c", "sys.stdout.flush(); os.kill(os.getpid(), 9)"),
        ("file", "sys.exit()"),
    ],
    ids=["status", "exception", "killed", "well"],
)
def test_a_fork_has_the_arguments_folder_streams_environment_and_status_of_a_process(
    tmp_path, monkeypatch, form, end
):
    monkeypatch.setenv("OF_THIS_TEST", "1")
    monkeypatch.delenv("HOME")  # the server still has it
    code = REPORT.format(end=end)
    (tmp_path / "program.py").write_text(code)
    program = ["-c", code] if form == "-c" else [str(tmp_path / "program.py")]
    forked, own = (
        subprocess.run(
            [str(python), *program, "a", "--b"],
            cwd=tmp_path,
            input="given",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )
        for python in (runs.python(), sys.executable)
    )
    assert forked.stdout == own.stdout
    assert forked.returncode == own.returncode
    assert forked.stderr.splitlines()[-1:] == own.stderr.splitlines()[-1:]
    assert "on stderr" in forked.stderr


@pytest.fixture
def waiting_program():
    """A program in a fork that waits for a signal."""
    with subprocess.Popen(
        [str(runs.python()), "-c", WAIT_FOR_SIGNAL], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield process


def test_sigterm_reaches_the_program(waiting_program):
    waiting_program.terminate()
    assert waiting_program.wait(30) == 5


def test_a_program_does_not_outlive_its_client(waiting_program):
    waiting_program.kill()
    assert waiting_program.stdout.read() == ""  # ends when no process has the pipe open
    assert waiting_program.wait(30) == -9
