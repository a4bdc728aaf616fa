"""`prepare` is atomic: it leaves a complete dataset or nothing, after errors, kills and on a full disk."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.dataset import new_folder as folder_module
from data_pipeline.dataset.check import check_dataset
from data_pipeline.dataset.dataset import open_dataset
from data_pipeline.dataset.new_folder import new_folder
from data_pipeline.errors import UserError
from data_pipeline.prepare import progress as prepare_progress
from data_pipeline.prepare import write as writing
from data_pipeline.prepare.append import append_ratings
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources import fingerprint
from data_pipeline.sources.open_source import open_source
from launch.main import main
from support import runs
from support.limits import file_size_limit


def prepare(source, out, **settings):
    config = replace(DataConfig(validation_fraction=0.1), **settings)
    return prepare_dataset(open_source(source, config), config, out)


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def many_ratings(tmp_path):
    """A CSV of 200,000 ratings: about 4 MB of staging files, 3 MB of training rows."""
    rng = np.random.default_rng(1)
    cells = rng.permutation(2_000 * 500)[:200_000]
    frame = pd.DataFrame(
        {"user_id": cells // 500, "item_id": cells % 500, "rating": rng.integers(1, 6, 200_000)}
    )
    frame.to_csv(tmp_path / "many.csv", index=False)
    return tmp_path / "many.csv"


@pytest.mark.parametrize("folder_exists", [False, True])
# For 200,000 rows: staging has 800,000 bytes per column, train.arrow about 1.8 million, users.arrow 16,000.
@pytest.mark.parametrize("num_bytes", [5_000, 500_000, 1_000_000])
def test_a_full_disk_is_a_one_line_error_and_leaves_nothing(
    many_ratings, tmp_path, capsys, folder_exists, num_bytes
):
    out = tmp_path / "out" / "prepared"
    (out if folder_exists else tmp_path).mkdir(parents=True, exist_ok=True)
    before = listing(tmp_path)
    with file_size_limit(num_bytes), pytest.raises(SystemExit) as caught:
        main(["prepare", str(many_ratings), "--out", str(out)])
    assert caught.value.code == 1
    *_, last = capsys.readouterr().err.splitlines()
    assert last == f"reeltrain: the disk is full (File too large), nothing was written: {out}"
    assert listing(tmp_path) == before


@pytest.mark.parametrize("folder_exists", [False, True])
@pytest.mark.parametrize("step", ["write_splits", "write_users_and_items", "training_vocabularies"])
def test_a_step_that_fails_leaves_nothing(tiny_ratings, tmp_path, monkeypatch, folder_exists, step):
    out = tmp_path / "out" / "prepared"
    (out if folder_exists else tmp_path).mkdir(parents=True, exist_ok=True)
    before = listing(tmp_path)

    def fail(*_args, **_kwargs):
        raise RuntimeError("planted")

    monkeypatch.setattr(f"data_pipeline.prepare.prepare.{step}", fail)
    with pytest.raises(RuntimeError, match="planted"):
        prepare(tiny_ratings, out)
    assert listing(tmp_path) == before


def test_an_existing_empty_folder_is_filled_not_replaced(tiny_ratings, tmp_path, monkeypatch):
    prepared = prepare(tiny_ratings, tmp_path / "prepared")
    out = tmp_path / "mounted"
    out.mkdir()
    inode = out.stat().st_ino
    monkeypatch.chdir(out)
    dataset = prepare(tiny_ratings, folder_module.Path("."))
    assert out.stat().st_ino == inode
    assert dataset.fingerprint == prepared.fingerprint
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in prepared.path.iterdir())


def test_a_link_to_an_empty_folder_is_followed(tiny_ratings, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    prepare(tiny_ratings, tmp_path / "link")
    check_dataset(tmp_path / "target")


def test_only_one_process_writes_a_folder_at_a_time(tiny_ratings, tmp_path):
    with new_folder(tmp_path / "out", last="manifest.json") as partial:
        with pytest.raises(UserError, match="another process is writing this folder"):
            prepare(tiny_ratings, tmp_path / "out")
        assert partial.is_dir()
    assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize("num_moved", range(6))
def test_a_half_filled_folder_is_cleared_by_the_next_run(tiny_ratings, tmp_path, num_moved):
    # In a separate process, which can be killed.
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import os, sys, pathlib\n"
        "from launch.main import main\n"
        "rename, moved = pathlib.Path.rename, []\n"
        "def counted(self, target):\n"
        f"    if len(moved) == {num_moved}: os.kill(os.getpid(), 9)\n"
        "    moved.append(target)\n"
        "    return rename(self, target)\n"
        "pathlib.Path.rename = counted\n"
        f"main(['prepare', {str(tiny_ratings)!r}, '--out', {str(out)!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len([path for path in out.iterdir() if not path.name.startswith(".")]) == num_moved
    with pytest.raises(UserError, match=r"has a manifest\.json, none found"):
        open_dataset(out)
    prepare(tiny_ratings, out)
    check_dataset(out)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.system
def test_a_process_killed_at_any_moment_leaves_no_half_dataset(many_ratings, tmp_path):
    draw = random.Random(20261124)
    out, partial = tmp_path / "prepared", tmp_path / ".prepared.partial"
    command = [sys.executable, "-m", "launch.main", "prepare", str(many_ratings), "--out", str(out), "--json"]
    begun, work_secs = runs.killed_within(command, partial, float("inf"))
    assert begun
    whole = check_dataset(out).fingerprint
    left = 0
    for _ in range(12):
        if out.exists():
            shutil.rmtree(out)
        runs.killed_within(command, partial, work_secs * draw.uniform(0, 1))
        left += partial.exists()
        if out.exists():
            assert check_dataset(out).fingerprint == whole
    assert left >= 3
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["fingerprint"] == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.csv", "prepared"]


def test_progress_shows_rows_per_second_and_time_left(many_ratings, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepare_progress, "SILENT_SECS", 0.0)
    monkeypatch.setattr(prepare_progress, "LINE_EVERY_SECS", 0.0)
    monkeypatch.setattr(writing, "BUCKET_GROUP_ROWS", 50_000)
    main_result = prepare_dataset(
        open_source(many_ratings, DataConfig()), DataConfig(), tmp_path / "out", quiet=False
    )
    err = capsys.readouterr().err
    assert main_result.num_rows("train") == 152_000
    for phase in ("reading", "looking for repeated ratings", "splitting", "indexing", "writing"):
        assert f"prepare   {phase}: 200,000 rows, " in err
    assert "rows/s, 0 s left" in err
    prepare_dataset(open_source(many_ratings, DataConfig()), DataConfig(), tmp_path / "quiet")
    assert capsys.readouterr().err == ""


def test_stdout_has_only_json(tiny_ratings, tmp_path, capsys):
    main(
        [
            "prepare",
            str(tiny_ratings),
            "--out",
            str(tmp_path / "out"),
            "--json",
            "--set",
            "data.split=per-user",
        ]
    )
    result = json.loads(capsys.readouterr().out)
    assert result["splits"] == open_dataset(tmp_path / "out").manifest["splits"]
    assert {"rows", "dropped_rows", "users", "items", "dataset", "cold", "sparsity"} <= set(result)


@pytest.mark.parametrize("appends", [False, True])
def test_an_error_does_not_wait_for_the_fingerprint(tiny_ratings, tmp_path, monkeypatch, appends):
    prepare(tiny_ratings, tmp_path / "out")
    was_cancelled = []

    def endless(_path, _start, cancelled):
        was_cancelled.append(cancelled.wait(60))
        raise CancelledError

    monkeypatch.setattr(fingerprint, "_hash_piece", endless)
    (tiny_ratings / "u.data").write_text("1\t2\tbad\t4\n")
    source = open_source(tiny_ratings / "u.data", DataConfig())
    new = tmp_path / "other"
    with pytest.raises(UserError, match="rating must be a finite number"):
        append_ratings(source, tmp_path / "out") if appends else prepare_dataset(source, DataConfig(), new)
    assert was_cancelled == [True]


def test_cancelled_hashing_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "_PIECE_BYTES", 1)
    (tmp_path / "large").write_bytes(b"123")
    cancelled = threading.Event()
    assert fingerprint._hash_piece(tmp_path / "large", 0, cancelled) == hashlib.sha256(b"123").digest()
    cancelled.set()
    with pytest.raises(CancelledError):
        fingerprint._hash_piece(tmp_path / "large", 0, cancelled)


@pytest.mark.parametrize("kind", ["new", "existing", "replaced"])
def test_all_files_are_synced_before_the_folder_is_renamed(tiny_ratings, tmp_path, monkeypatch, kind):
    out, on_disk, moved = tmp_path / "out", set(), []
    if kind == "replaced":
        prepare(tiny_ratings, out)
    if kind == "existing":
        out.mkdir()

    def sync(number):
        on_disk.add(os.readlink(f"/proc/self/fd/{number}"))

    def noted(function):
        def move(source, target):
            files = [str(file) for file in (source.iterdir() if source.is_dir() else [source])]
            assert set(files) <= on_disk
            assert str(source.parent if source.is_file() else source) in on_disk
            moved.append(source)
            return function(source, target)

        return move

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(folder_module, "_exchange", noted(folder_module._exchange))
    monkeypatch.setattr(folder_module.Path, "rename", noted(folder_module.Path.rename))
    if kind == "replaced":
        append_ratings(open_source(tiny_ratings, DataConfig()), out)
    else:
        prepare(tiny_ratings, out)
    assert len(moved) == (len(list(out.iterdir())) if kind == "existing" else 1)
    assert str(out if kind == "existing" else tmp_path) in on_disk
    check_dataset(out)
