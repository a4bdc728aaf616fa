"""Several worker processes: the first failure ends all, or restarts all; signals reach all; none is left."""

import json
import os
import signal
import subprocess
import sys

import pytest

from launch.jobs.local import run_workers
from launch.jobs.tf_config import free_ports
from support import runs

SETTINGS = {
    "train.global_batch_size": 32,
    "train.steps_per_loop": 5,
    "train.log_every_steps": 5,
    "train.epochs": 1000,
}

pytestmark = [pytest.mark.slow, pytest.mark.system]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return runs.prepare_generated(tmp_path_factory.mktemp("launch") / "dataset", num_train=40 * 32)


def start_workers(dataset, workdir, *, restarts=0, settings=SETTINGS, env=None):
    command = runs.train_command(dataset, workdir, settings)
    command[3:3] = ["launch", "local", "--workers", "2", "--restarts", str(restarts), "--"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def worker_process(workdir, index):
    """The process id of one of the two workers."""
    found = []
    for pid in runs.processes_with(str(workdir)):
        with open(f"/proc/{pid}/environ", "rb") as file:
            if f'"index": {index}'.encode() in file.read():
                found.append(pid)
    (pid,) = found
    return pid


def has_checkpoint(workdir):
    return lambda: newest_checkpoint(workdir) > 0


def newest_checkpoint(workdir):
    """Its step; 0 where there is none."""
    return max((int(path.stem[5:]) for path in workdir.glob("checkpoints/ckpt-*.index")), default=0)


def test_sigterm_saves_on_all_workers_and_leaves_no_process(dataset, tmp_path):
    workdir = tmp_path / "run"
    launcher = start_workers(dataset, workdir)
    runs.wait_until(has_checkpoint(workdir))
    launcher.send_signal(signal.SIGTERM)
    _, stderr = launcher.communicate(timeout=90)
    assert launcher.returncode == 128 + signal.SIGTERM, stderr
    assert runs.processes_with(str(workdir)) == []
    for index in (0, 1):
        log = (workdir / "logs" / f"worker-{index}.log").read_text()
        assert "checkpoint saved" in log or '"test_rmse": null' in log, log
    assert max(runs.losses(workdir)) == runs.weights(workdir)["step"]


def test_sigterm_to_one_worker_alone_stops_all_as_stopped(dataset, tmp_path):
    workdir = tmp_path / "run"
    launcher = start_workers(dataset, workdir, restarts=1)
    runs.wait_until(has_checkpoint(workdir))
    os.kill(worker_process(workdir, 1), signal.SIGTERM)
    stdout, stderr = launcher.communicate(timeout=90)
    assert launcher.returncode == 128 + signal.SIGTERM, stderr
    result = json.loads(stdout.splitlines()[-1])
    assert result["exit_statuses"] == [143, 143]
    assert result["restarts"] == 0
    assert result["result"]["test_rmse"] is None
    assert result["result"]["step"] == max(runs.losses(workdir))


def test_a_killed_worker_ends_the_job(dataset, tmp_path):
    workdir = tmp_path / "run"
    launcher = start_workers(dataset, workdir)
    runs.wait_until(has_checkpoint(workdir))
    os.kill(worker_process(workdir, 1), signal.SIGKILL)
    _, stderr = launcher.communicate(timeout=90)
    assert launcher.returncode == 128 + signal.SIGKILL, stderr
    assert "worker 1 ended with status 137" in stderr
    assert runs.processes_with(str(workdir)) == []


def test_killed_workers_are_started_again_and_the_run_ends_as_if_none_had_been(dataset, tmp_path):
    settings = {**SETTINGS, "train.epochs": 25, "train.precision": "float64"}
    workdir = tmp_path / "run"
    launcher = start_workers(dataset, workdir, restarts=2, settings=settings)
    for victim in (1, 0):
        before = newest_checkpoint(workdir)
        runs.wait_until(lambda before=before: newest_checkpoint(workdir) > before, timeout_secs=90)
        workers = {index: worker_process(workdir, index) for index in (0, 1)}
        os.kill(workers[victim], signal.SIGKILL)
        # The other may still save: a checkpoint is not yet a sign of those that are started again.
        runs.wait_until(
            lambda workers=workers: not {*workers.values()} & {*runs.processes_with(str(workdir))}
        )
    stdout, stderr = launcher.communicate(timeout=180)
    assert launcher.returncode == 0, stderr
    told = [line for line in stderr.splitlines() if "started again" in line]
    assert [line.split(":")[0] for line in told] == [
        "launch    worker 1 ended with status 137",
        "launch    worker 0 ended with status 137",
    ]
    assert [line[-6:] for line in told] == ["1 of 2", "2 of 2"]
    result = json.loads(stdout.splitlines()[-1])
    assert (result["restarts"], result["exit_statuses"]) == (2, [0, 0])

    whole = runs.train(dataset, tmp_path / "whole", settings, workers=2)
    assert result["result"]["step"] == whole["step"] == 25 * 40
    for read in (runs.losses, runs.weights):
        assert runs.largest_difference(read(workdir), read(tmp_path / "whole")) <= 1e-10


def test_after_the_last_restart_the_failure_stands(dataset, tmp_path):
    fails = ["train", str(dataset), "--workdir", str(tmp_path / ("x" * 300))]  # longer than a name may be
    result = run_workers(2, fails, log_dir=tmp_path / "logs", restarts=1)
    assert (result.exit_status, result.restarts) == (1, 1)
    logs = [(tmp_path / "logs" / f"worker-{index}.log").read_text() for index in (0, 1)]
    assert max(log.count("File name too long") for log in logs) == 2, logs


def test_a_killed_launcher_leaves_no_worker(dataset, tmp_path):
    workdir = tmp_path / "run"
    launcher = start_workers(dataset, workdir)
    runs.wait_until(lambda: len(runs.processes_with(str(workdir))) == 3)
    launcher.kill()
    launcher.communicate(timeout=30)
    runs.wait_until(lambda: runs.processes_with(str(workdir)) == [], timeout_secs=30)


def test_a_workers_mistake_is_the_jobs_exit_status_and_not_tried_again(tmp_path):
    result = run_workers(2, ["train", str(tmp_path / "nowhere")], log_dir=tmp_path / "logs", restarts=3)
    assert (result.exit_status, result.restarts) == (2, 0)
    assert "no such file or folder" in (tmp_path / "logs" / f"worker-{result.first_failed}.log").read_text()


def test_free_ports_are_different():
    assert len(set(free_ports(20))) == 20


def test_only_train_is_launched():
    done = subprocess.run(
        [sys.executable, "-m", "launch.main", "launch", "local", "--workers", "2", "--", "evaluate"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "launch starts `train`" in done.stderr


def test_workers_train_behind_a_proxy_that_does_not_answer(dataset, tmp_path):
    proxy = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"), "http://127.0.0.1:9")
    launcher = start_workers(
        dataset, tmp_path / "run", settings={**SETTINGS, "train.epochs": 1}, env={**os.environ, **proxy}
    )
    stdout, stderr = launcher.communicate(timeout=90)
    assert launcher.returncode == 0, stderr
    assert "\nproxy     grpc_proxy, https_proxy, http_proxy: not used between the workers\n" in stderr
    assert json.loads(stdout.splitlines()[-1])["result"]["step"] == 40


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_workers_are_up_ends_all_at_once(dataset, tmp_path, signum):
    workdir = tmp_path / "run"
    launcher = start_workers(dataset, workdir, restarts=3)
    runs.wait_until(lambda: len(runs.processes_with(str(workdir))) == 3)
    launcher.send_signal(signum)
    _, stderr = launcher.communicate(timeout=20)
    assert launcher.returncode in (128 + signum, 1), stderr
    assert "started again" not in stderr
    assert runs.processes_with(str(workdir)) == []
