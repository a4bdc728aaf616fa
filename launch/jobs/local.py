"""Several workers on this machine: processes with a TF_CONFIG each, on free loopback ports."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import IO

from data_pipeline.logs import log
from launch.jobs.tf_config import free_ports, tf_config

# Time for a worker to save a checkpoint after SIGTERM, before it is killed. After a failure the other workers
# cannot save, because all must agree on the step.
GRACE_SECS = 30.0
GRACE_AFTER_FAILURE_SECS = 5.0
POLL_SECS = 0.1
# Exit statuses of a worker that saved and stopped on request.
STOPPED_STATUSES = (128 + signal.SIGTERM, 128 + signal.SIGINT)
USER_MISTAKE_STATUS = 2
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class LaunchResult:
    """How the workers ended.

    Attributes:
        exit_statuses: one per worker, as a shell has them (128 + N for signal N).
        first_failed: the worker that failed first, or None. The others were stopped because of it.
        chief_stdout: the standard output of worker 0.
        was_asked: whether the launcher received SIGINT or SIGTERM.
        restarts: number of restarts before this attempt.
    """

    exit_statuses: list[int]
    first_failed: int | None
    chief_stdout: str
    was_asked: bool = False
    restarts: int = 0

    @property
    def is_worth_a_restart(self) -> bool:
        """Whether a worker failed, but not by invalid input, which would fail again, or a requested stop."""
        return not self.was_asked and self.exit_status not in (0, USER_MISTAKE_STATUS, *STOPPED_STATUSES)

    @property
    def exit_status(self) -> int:
        """The exit status of the worker that failed first; 0 if none failed."""
        return 0 if self.first_failed is None else self.exit_statuses[self.first_failed]


@dataclass
class Signals:
    """What the launcher was asked by SIGINT and SIGTERM.

    Attributes:
        received: number of signals; the workers end at once at the second.
        deadline: `time.monotonic()` from which running workers are killed.
    """

    received: int = 0
    last: int = signal.SIGTERM
    deadline: float = math.inf

    def forward(self, workers: list[subprocess.Popen]) -> None:
        """Sends the last signal to the workers that run."""
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(self.last)


def run_workers(num_workers: int, arguments: list[str], *, log_dir: Path, restarts: int = 0) -> LaunchResult:
    """Runs `reeltrain ARGUMENTS` in `num_workers` processes until all end; the first failure ends all.

    The chief's stderr is passed through; each worker's output goes to `log_dir`/worker-<i>.log. SIGINT and
    SIGTERM are forwarded, so that the workers save and stop. No worker outlives this process, even if it is
    killed.

    Args:
        restarts: the most times that all workers are restarted after one failed. The same command continues
            from the newest checkpoint. Each restart is logged.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    attempt = 0
    while True:
        result = replace(_run_once(num_workers, arguments, log_dir=log_dir), restarts=attempt)
        if attempt == restarts or not result.is_worth_a_restart:
            return result
        attempt += 1
        log.info(
            f"launch    worker {result.first_failed} ended with status {result.exit_status}: all are started "
            f"again from the newest checkpoint, restart {attempt} of {restarts}"
        )


def _run_once(num_workers: int, arguments: list[str], *, log_dir: Path) -> LaunchResult:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(num_workers)]
    workers: list[subprocess.Popen] = []
    signals = Signals()
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context((log_dir / f"worker-{i}.log").open("ab")) for i in range(num_workers)]
        stack.enter_context(_forwarding_signals(workers, signals))
        for i in range(num_workers):
            workers.append(_start(arguments, addresses, i, log=logs[i]))
        chief_stdout: list[bytes] = []
        readers = [
            threading.Thread(target=_read, args=(workers[0].stdout, [logs[0].write, chief_stdout.append])),
            threading.Thread(target=_read, args=(workers[0].stderr, [logs[0].write, _show])),
        ]
        for reader in readers:
            reader.start()
        if signals.received:  # before all had started
            signals.forward(workers)
        try:
            first_failed = _wait(workers, signals)
        finally:
            # A worker that received a signal has notified the others, which stop by themselves.
            stopped = any(worker.poll() in STOPPED_STATUSES for worker in workers)
            _end(workers, were_asked=signals.received > 0 or stopped)
            for reader in readers:
                reader.join()
    return LaunchResult(
        exit_statuses=[_shell_status(worker.returncode) for worker in workers],
        first_failed=first_failed,
        chief_stdout=b"".join(chief_stdout).decode(errors="replace"),
        was_asked=signals.received > 0,
    )


def _start(arguments: list[str], addresses: list[str], index: int, *, log: IO[bytes]) -> subprocess.Popen:
    threads = str(max(1, (os.cpu_count() or 1) // len(addresses)))
    # The workers share the machine's cores.
    threading_defaults = {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
    return subprocess.Popen(
        [sys.executable, "-m", "launch.main", *arguments],
        env={**threading_defaults, **os.environ, "TF_CONFIG": tf_config(addresses, index)},
        stdin=subprocess.DEVNULL,
        stdout=log if index else subprocess.PIPE,
        stderr=log if index else subprocess.PIPE,
        # A terminal sends Ctrl-C to this process only, which forwards it once.
        start_new_session=True,
        preexec_fn=functools.partial(_die_with, os.getpid()) if sys.platform == "linux" else None,
    )


def _die_with(launcher: int) -> None:
    """In the child: the kernel kills it when the launcher's thread ends for whatever reason."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher:  # it has ended already
        os._exit(1)


def _read(stream: IO[bytes], sinks: list) -> None:
    with stream:
        for line in stream:
            for sink in sinks:
                sink(line)


def _show(line: bytes) -> None:
    sys.stderr.write(line.decode(errors="replace"))
    sys.stderr.flush()


def _wait(workers: list[subprocess.Popen], signals: Signals) -> int | None:
    """Returns None when all have succeeded, or the index of the first that failed.

    After a second signal, workers that are still there after `GRACE_AFTER_FAILURE_SECS` are killed.
    """
    while True:
        statuses = [worker.poll() for worker in workers]
        failed = next((index for index, status in enumerate(statuses) if status), None)
        if failed is not None or None not in statuses:
            return failed
        if time.monotonic() > signals.deadline:
            for worker in workers:
                worker.kill()
        time.sleep(POLL_SECS)


def _end(workers: list[subprocess.Popen], *, were_asked: bool) -> None:
    """Stops running workers: SIGTERM, a grace period, SIGKILL.

    Workers that were asked to stop before get no second SIGTERM, which would interrupt their saving.
    """
    for worker in workers:
        if worker.poll() is None and not were_asked:
            worker.terminate()
    deadline = time.monotonic() + (GRACE_SECS if were_asked else GRACE_AFTER_FAILURE_SECS)
    for worker in workers:
        try:
            worker.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


@contextlib.contextmanager
def _forwarding_signals(workers: list[subprocess.Popen], signals: Signals) -> Iterator[None]:
    """Passes signals on to `workers`, also to those that are added later."""

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        signals.received += 1
        signals.last = signum
        if signals.received > 1:
            signals.deadline = time.monotonic() + GRACE_AFTER_FAILURE_SECS
        signals.forward(workers)

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _shell_status(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode
