"""A worker that dies or hangs ends the others within 30 s, by name, also where no launcher watches."""

import os
import signal
import subprocess
import time

import pytest

from launch.jobs.tf_config import free_ports, tf_config
from support import runs
from trainer.cluster import heartbeat as peers_module
from trainer.cluster.heartbeat import SILENT_BEATS, Heartbeat

ADDRESSES = ["a:1", "b:2", "c:3"]


@pytest.fixture
def peers(tmp_path, monkeypatch):
    """The watch of worker 0, which looks only when the test does; workers 1 and 2 are there."""
    monkeypatch.setattr(peers_module, "BEAT_SECS", 1000.0)
    for worker in (1, 2):
        beat(tmp_path / "alive", worker, at=0)
    with Heartbeat(tmp_path / "alive", worker=0, addresses=ADDRESSES) as watch:
        yield watch


def beat(folder, worker, *, at):
    """Worker's touch, by a clock that need not be ours."""
    folder.mkdir(exist_ok=True)
    path = folder / f"worker-{worker}"
    path.touch()
    os.utime(path, ns=(at, at))


def test_who_is_silent_too_long_is_named_and_who_beats_is_not(peers, tmp_path):
    for look in range(1, SILENT_BEATS):
        beat(tmp_path / "alive", 2, at=-look * 10**9)  # a clock that runs backwards is a life sign, too
        assert peers._look() is None
    beat(tmp_path / "alive", 2, at=1)
    assert peers._look() == 1


def test_the_one_that_was_silent_first_is_named(peers, tmp_path):
    beat(tmp_path / "alive", 1, at=1)
    assert [peers._look() for _ in range(SILENT_BEATS)] == [None] * (SILENT_BEATS - 1) + [2]


def test_silence_with_a_life_sign_between_is_forgiven(peers, tmp_path):
    for worker_time in range(1, 4):
        beat(tmp_path / "alive", 1, at=worker_time)
        beat(tmp_path / "alive", 2, at=worker_time)
        assert {peers._look() for _ in range(SILENT_BEATS)} == {None}


def test_who_ended_well_is_not_missed_and_who_failed_is(peers, tmp_path):
    with Heartbeat(tmp_path / "alive", worker=1, addresses=ADDRESSES):
        pass
    with pytest.raises(ZeroDivisionError), Heartbeat(tmp_path / "alive", worker=2, addresses=ADDRESSES):
        raise ZeroDivisionError
    assert [peers._look() for _ in range(SILENT_BEATS + 1)][-1] == 2


def test_workers_that_all_fail_leave_nothing(tmp_path):
    for worker in (0, 1):
        with (
            pytest.raises(ZeroDivisionError),
            Heartbeat(tmp_path / "alive", worker=worker, addresses=ADDRESSES),
        ):
            raise ZeroDivisionError
    assert not (tmp_path / "alive").exists()


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.parametrize(("victim", "signum"), [(0, signal.SIGKILL), (1, signal.SIGSTOP)])
def test_a_worker_that_is_no_more_ends_the_other_within_30_s_by_name(tmp_path, victim, signum):
    dataset = runs.prepare_generated(tmp_path / "dataset", num_train=40 * 32)
    settings = {"train.global_batch_size": 32, "train.steps_per_loop": 5, "train.epochs": 1000}
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    workers = []
    for index in (0, 1):
        with (tmp_path / f"stderr-{index}").open("w") as stderr:
            workers.append(
                subprocess.Popen(
                    runs.train_command(dataset, tmp_path / "run", settings),
                    env={**os.environ, "TF_CONFIG": tf_config(addresses, index)},
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                )
            )
    try:
        runs.wait_until(lambda: any((tmp_path / "run").glob("checkpoints/ckpt-*.index")), timeout_secs=90)
        workers[victim].send_signal(signum)
        began = time.monotonic()
        status = workers[1 - victim].wait(60)
        assert time.monotonic() - began < 30
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    stderr = (tmp_path / f"stderr-{1 - victim}").read_text()
    assert status == 1, stderr
    assert f"\nreeltrain: worker {victim} ({addresses[victim]}) stopped responding" in stderr
    assert stderr.count("reeltrain: ") == 1, stderr
