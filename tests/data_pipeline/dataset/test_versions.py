"""An append keeps the version that it replaces; versions are listed, restored and dropped, never half."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.dataset import keep_versions, new_folder
from data_pipeline.dataset.check import check_dataset
from data_pipeline.dataset.dataset import open_dataset, open_version
from data_pipeline.dataset.keep_versions import drop_versions, restore_version
from data_pipeline.dataset.splits import SPLITS
from data_pipeline.dataset.versions import dataset_versions
from data_pipeline.errors import UserError
from data_pipeline.prepare.append import append_ratings
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.open_source import open_source
from launch.main import main


def ratings(num_users, num_items, num_rows, seed):
    rng = np.random.default_rng(seed)
    cells = rng.permutation(num_users * num_items)[:num_rows]
    columns = {"user_id": cells // num_items, "item_id": cells % num_items}
    return pd.DataFrame(columns | {"rating": rng.integers(1, 6, num_rows).astype(np.float32)})


OLD, NEW, NEWER = ratings(40, 30, 600, 1), ratings(60, 50, 300, 2), ratings(70, 60, 200, 3)


def prepare(path):
    config = DataConfig()
    return prepare_dataset(open_source(OLD, config), config, path)


def append(frame, path):
    return append_ratings(open_source(frame, DataConfig()), path)


def contents(folder):
    """file name -> bytes, of one version."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def three(tmp_path):
    """A dataset with two former versions: (path, their bytes in order)."""
    path = tmp_path / "data"
    prepare(path)
    states = [contents(path)]
    for frame in (NEW, NEWER):
        append(frame, path)
        states.append(contents(path))
    return path, states


def ids(path):
    return [each.id for each in dataset_versions(path)]


def test_an_append_keeps_every_former_version_byte_for_byte(three):
    path, states = three
    found = [contents(each.path) for each in dataset_versions(path)]
    assert found == states
    assert [each.is_present for each in dataset_versions(path)] == [False, False, True]
    assert [each.appended for each in dataset_versions(path)] == [0, 300, 200]
    for each in dataset_versions(path):
        assert each.splits == json.loads(states[ids(path).index(each.id)]["manifest.json"])["splits"]
        assert each.bytes == sum(map(len, contents(each.path).values()))
        assert open_dataset(each.path).version == each.id
    check_dataset(path)


def test_a_restored_version_is_the_former_one_and_the_append_can_be_repeated(three):
    path, states = three
    first, second, third = ids(path)
    assert restore_version(path, first[:6]).version == first
    assert contents(path) == states[0]
    assert sorted(ids(path)) == sorted([first, second, third])
    # The same rows make the same version again, which is then stored once.
    assert append(NEW, path).version == second
    assert sorted(ids(path)) == sorted([first, second, third])
    assert not (path / "versions" / second).exists()
    assert append(NEWER, path).version == third
    assert contents(path)["train.arrow"] == states[2]["train.arrow"]
    check_dataset(path)


def test_restoring_the_present_version_changes_nothing(three):
    path, states = three
    before = ids(path)
    assert restore_version(path, before[-1]).version == before[-1]
    assert (contents(path), ids(path)) == (states[2], before)


def test_files_that_are_equal_in_two_versions_are_stored_once(tmp_path):
    path = tmp_path / "data"
    prepare(path)
    append(OLD.iloc[:5], path)  # no new ids: users and items stay the same
    former, present = dataset_versions(path)
    for name in ("users.arrow", "items.arrow"):
        assert (former.path / name).stat().st_ino == (present.path / name).stat().st_ino
    shared = sum((path / name).stat().st_size for name in ("users.arrow", "items.arrow"))
    assert former.bytes - former.own_bytes == shared


def test_versions_are_dropped_by_name_and_the_others_stay(three):
    path, states = three
    first, second, third = ids(path)
    assert drop_versions(path, [first[:5]]) == [first]
    assert (ids(path), contents(path)) == ([second, third], states[2])
    assert contents(path / "versions" / second) == states[1]
    assert drop_versions(path, [second, second]) == [second]
    assert not (path / "versions").exists()
    check_dataset(path)


def test_what_is_not_one_former_version_is_not_dropped(three):
    path, _ = three
    first, _, third = ids(path)
    for names, message in [
        ([first, "zzz"], "must be the id of one version, or how it starts, got 'zzz'; there are "),
        ([""], "got ''; there are "),
        ([first, third], f"the present version cannot be dropped, got {third}"),
    ]:
        with pytest.raises(UserError, match=message):
            drop_versions(path, names)
    assert len(ids(path)) == 3


def test_a_prefix_of_several_versions_is_refused_with_their_names():
    from data_pipeline.dataset.versions import DatasetVersion, named_version

    known = [DatasetVersion(name, None, False, "", {}, 0, 0, 0, 0, 0) for name in ("ab1", "ab2", "c")]
    with pytest.raises(UserError, match="got 'ab'; it fits ab1, ab2"):
        named_version(known, "ab", path="d")
    assert named_version(known, "ab2", path="d").id == "ab2"


def test_a_former_version_is_never_appended_to(three, tmp_path, capsys):
    path, _ = three
    former = path / "versions" / ids(path)[0]
    NEW.to_csv(tmp_path / "new.csv", index=False)
    line = refused(capsys, "prepare", tmp_path / "new.csv", "--append", former)
    assert f"a former version is never changed; `reeltrain versions {path} --restore {former.name}`" in line


def test_an_append_does_not_delete_what_is_no_part_of_the_dataset(tmp_path):
    path = prepare(tmp_path / "data").path
    (path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"nothing but the dataset.* move away notes\.txt"):
        append(NEW, path)
    assert (path / "notes.txt").read_text() == "mine"


def test_an_open_dataset_stays_the_version_that_it_was_opened_as(three):
    path, _ = three
    present = open_dataset(path)
    rows = {split: present.table(split) for split in SPLITS}
    again = open_dataset(path)
    append(OLD.iloc[:9], path)
    for split in SPLITS:
        assert again.table(split).equals(rows[split])
        assert len(again.columns(split)) == again.num_rows(split)
    assert len(again.users) == again.manifest["users"]
    drop_versions(path, [again.version])
    with pytest.raises(UserError, match=f"version {again.version} of the dataset is not there any more"):
        again.table("train")


def test_a_version_is_found_by_its_fingerprint_wherever_it_lies(three):
    path, states = three
    prints = [json.loads(state["manifest.json"])["fingerprint"] for state in states]
    for start in (path, path / "versions" / prints[0][:12]):
        for fingerprint, state in zip(prints, states, strict=True):
            assert contents(open_version(start, fingerprint).path) == state
    assert open_version(path, "0" * 64) is None


def test_check_finds_a_damaged_former_version_which_can_still_be_dropped(three, capsys):
    path, _ = three
    first, second, _ = ids(path)
    file = path / "versions" / second / "test.arrow"
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    assert "the file was changed" in refused(capsys, "versions", path, "--restore", second)
    assert "the file was changed" in refused(capsys, "prepare", "--check", path)
    (path / "versions" / first / "manifest.json").write_text("{}")
    append(OLD.iloc[:9], path)  # keeps damaged versions as they are
    assert (path / "versions" / second / "test.arrow").read_bytes() == content
    main(["versions", str(path), "--drop", first, "--json"])
    listed = json.loads(capsys.readouterr().out)["versions"]
    assert first not in [each["id"] for each in listed]
    with pytest.raises(UserError, match="the file was changed"):
        check_dataset(path)


def test_without_hard_links_versions_are_copies(tmp_path, monkeypatch):
    path = prepare(tmp_path / "data").path
    state = contents(path)

    def refuse(*_args, **_kwargs):
        raise OSError(keep_versions.errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    append(NEW, path)
    assert contents(dataset_versions(path)[0].path) == state
    check_dataset(path)


def test_a_full_disk_while_versions_are_kept_changes_nothing(three, tmp_path, monkeypatch):
    path, states = three
    before = ids(path)

    def full(*_args, **_kwargs):
        raise OSError(keep_versions.errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    for change in (
        lambda: append(OLD.iloc[:9], path),
        lambda: restore_version(path, before[0]),
        lambda: drop_versions(path, before[:1]),
    ):
        with pytest.raises(OSError, match=r"the disk is full .* nothing was written"):
            change()
        assert (ids(path), contents(path)) == (before, states[2])
    assert not list(tmp_path.glob(".*"))


def test_two_processes_never_change_a_dataset_at_once(three):
    path, _ = three
    first = ids(path)[0]
    with contextlib.suppress(InterruptedError), new_folder.replaced_folder(path):
        for change in (
            lambda: append(OLD.iloc[:9], path),
            lambda: restore_version(path, first),
            lambda: drop_versions(path, [first]),
        ):
            with pytest.raises(UserError, match="another process is writing this folder"):
                change()
        raise InterruptedError  # so that nothing is replaced
    assert len(ids(path)) == 3


def test_a_moved_or_copied_dataset_has_all_its_versions(three, tmp_path):
    path, states = three
    shutil.copytree(path, tmp_path / "copy")
    path.rename(tmp_path / "moved")
    for place in (tmp_path / "copy", tmp_path / "moved"):
        assert [contents(each.path) for each in sorted(dataset_versions(place), key=lambda v: v.bytes)] == (
            sorted(states, key=lambda state: sum(map(len, state.values())))
        )
        check_dataset(place)


@pytest.mark.slow
@pytest.mark.system
def test_a_restore_killed_at_any_moment_has_happened_or_not(three):
    path, states = three
    first, _, third = ids(path)
    code = (
        "import os, signal, sys, threading, pathlib\n"
        "from data_pipeline.dataset import keep_versions, new_folder\n"
        "calls, last = 0, int(sys.argv[3])\n"
        "def counted(work):\n"
        "    def call(*args, **kwargs):\n"
        "        global calls\n"
        "        calls += 1\n"
        "        if calls == last: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return work(*args, **kwargs)\n"
        "    return call\n"
        "os.link, os.unlink, os.fsync = counted(os.link), counted(os.unlink), counted(os.fsync)\n"
        "new_folder._exchange = counted(new_folder._exchange)\n"
        "keep_versions.restore_version(pathlib.Path(sys.argv[1]), sys.argv[2])\n"
    )
    killed = 0
    for last in (1, 9, 17, 25, 40, 42, 44, 46, 60, 80):
        wanted = first if open_dataset(path).version == third else third
        command = [sys.executable, "-c", code, str(path), wanted, str(last)]
        killed += subprocess.run(command, timeout=60, check=False).returncode == -9
        assert open_dataset(path).version in (first, third)
        assert sorted(map(len, map(contents, [each.path for each in dataset_versions(path)]))) == [6, 6, 6]
        assert contents(path) in (states[0], states[2])
    assert killed >= 5
    check_dataset(path)
