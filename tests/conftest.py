"""Fixtures that several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from data_pipeline.sources.generated import generate_ratings
from data_pipeline.threads import num_cores

# The tests' devices are CPUs, logical ones where they need several; here and in child processes.
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

PROJECT = Path(__file__).resolve().parent.parent
CLI_TIMEOUT_SECS = 120
MOST_PROCESSES = 8
ACCENTED_TITLE = "Cité des enfants perdus, La (1995)"

# The same examples at every run: a failure is a change, not luck.
hypothesis.settings.register_profile("reeltrain", deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("reeltrain")


def pytest_xdist_auto_num_workers() -> int:
    """Processes of `pytest -n auto`: one more than cores, for tests that wait; each takes about 1.5 GB."""
    return min(num_cores() + 1, MOST_PROCESSES)


@pytest.fixture(scope="session")
def ml_100k() -> Path:
    """The folder of the real MovieLens-100K, which its licence keeps out of the repository."""
    folder = Path(os.environ.get("REELTRAIN_ML100K") or PROJECT.parent / "shared" / "data" / "ml-100k")
    if not (folder / "u.data").is_file():
        pytest.skip(f"MovieLens-100K is not at {folder}; REELTRAIN_ML100K may name another folder")
    return folder


@pytest.fixture
def run_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `reeltrain ARGUMENTS` as a process, by default in an empty folder and with an empty cache."""

    def run(
        *arguments: object,
        check: bool = True,
        timeout: float = CLI_TIMEOUT_SECS,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        python: str | Path = sys.executable,
    ) -> subprocess.CompletedProcess[str]:
        if cwd is None:
            cwd = tmp_path / "cwd"
            cwd.mkdir(exist_ok=True)
        done = subprocess.run(
            [str(python), "-m", "launch.main", *map(str, arguments)],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), **(env or {})},
            cwd=cwd,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
        return done

    return run


@pytest.fixture
def tiny_ratings(tmp_path: Path) -> Path:
    """A folder shaped like ML-100K with 600 generated ratings; item 1 has `ACCENTED_TITLE`."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    ratings = generate_ratings(num_users=30, num_items=40, num_ratings=600, seed=3)
    rows = ratings.table.to_pylist()
    (folder / "u.data").write_text(
        "".join(f"{r['user_id']}\t{r['item_id']}\t{r['rating']:.0f}\t{r['timestamp']}\n" for r in rows)
    )
    titles = {1: ACCENTED_TITLE} | {item: f"Film {item} (1990)" for item in range(2, 41)}
    flags = "|".join(["0"] * 18 + ["1"])
    (folder / "u.item").write_text(
        "".join(f"{item}|{title}|01-Jan-1995||http://x|{flags}\n" for item, title in titles.items()),
        encoding="latin-1",
    )
    (folder / "u.user").write_text("".join(f"{user}|{20 + user}|F|writer|85711\n" for user in range(1, 31)))
    return folder
