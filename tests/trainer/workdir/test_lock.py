"""Two runs in one workdir are refused; a lock never outlives its process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from data_pipeline.errors import UserError
from trainer.workdir.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from trainer.workdir.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path / run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate(timeout=30)


def test_a_second_run_is_refused_with_pid_and_host_of_the_first(holder, tmp_path):
    with (
        pytest.raises(UserError, match=f"process {holder.pid} on {socket.gethostname()} holds .lock"),
        locked(tmp_path / "run"),
    ):
        pass


def test_the_lock_of_a_killed_run_does_not_block(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait(30)
    lock = tmp_path / "run" / ".lock"
    assert lock.read_text().split()[0] == str(holder.pid)
    with locked(tmp_path / "run"):
        assert lock.read_text() == f"{os.getpid()} {socket.gethostname()}\n"
    assert not lock.exists()


def test_a_folder_made_for_the_lock_is_unmade_unless_it_was_used(tmp_path):
    with locked(tmp_path / "a" / "b"):
        pass
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "config.json").touch()
    assert (tmp_path / "a" / "b" / "config.json").exists()


@pytest.mark.parametrize(
    "folder", ["/proc/reeltrain/run", "/sys/reeltrain"]
)  # root cannot write there, either
def test_a_read_only_workdir_is_the_users_mistake(folder):
    with (
        pytest.raises(UserError, match=f"{folder}: the workdir must be writable, got: "),
        locked(Path(folder)),
    ):
        pass
