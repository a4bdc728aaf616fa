"""Runs a contender in a separate process: it receives one JSON object and prints one."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.arguments import PROJECT

CONTENDERS = PROJECT / "benchmarks" / "contenders"
TIMEOUT_SECS = 1200


def run_contender(
    name: str, job: Mapping[str, Any], *, python: str = sys.executable, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Runs `contenders/<name>.py` on a job; returns its result, or {"error": one line}."""
    # The project for its modules, `benchmarks` for the harness.
    path = os.pathsep.join([str(PROJECT), str(PROJECT / "benchmarks")])
    try:
        done = subprocess.run(
            [python, str(CONTENDERS / f"{name}.py"), json.dumps(job)],
            cwd=PROJECT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **(env or {}), "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"timed out after {TIMEOUT_SECS} s"}
    except OSError as error:
        return {"error": f"cannot run {python}: {error.strerror}"}
    if done.returncode < 0:
        return {"error": f"killed by signal {-done.returncode}"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"status {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def serve(measure: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The `main` of a contender: reads the job, measures, prints the result and the peak memory."""
    result = measure(json.loads(sys.argv[1]))
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**result, "peak_rss_mib": peak_kib / 1024}))


def timed(repeat: Callable[[], None], repetitions: int) -> list[float]:
    """Seconds of each repetition, after a warm-up; `repeat` must return only when the device is done."""
    return list(_durations(repeat, repetitions + 1))[1:]


def free_memory_mib() -> float:
    """Memory available to new processes, in MiB (Linux)."""
    meminfo = Path("/proc/meminfo")
    for line in meminfo.read_text().splitlines() if meminfo.is_file() else ():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) / 1024
    sys.exit(f"{Path(sys.argv[0]).name}: needs Linux with MemAvailable in {meminfo}, got none")


def _durations(repeat: Callable[[], None], count: int) -> Iterator[float]:
    for _ in range(count):
        begin = time.perf_counter()
        repeat()
        yield time.perf_counter() - begin
