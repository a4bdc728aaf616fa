"""A file is replaced as a whole or left alone."""

import os

import pytest

from data_pipeline.files import replace_text, replaced_file


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_new_content_replaces_the_old(tmp_path):
    path = tmp_path / "a.json"
    for text in ("old\n", "neu: ä\n"):
        replace_text(path, text)
        assert path.read_bytes() == text.encode()
    assert names(tmp_path) == ["a.json"]


def test_a_writer_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail(partial):
        partial.write_text("half of the n")
        assert path.read_text() == "old"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), replaced_file(path) as partial:
        fail(partial)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_what_a_killed_writer_left_is_not_reused(tmp_path):
    path = tmp_path / "a.json"
    (tmp_path / ".a.json.partial").write_text("much longer, left by a killed process")
    with replaced_file(path) as partial:
        assert not partial.exists()
        partial.write_text("new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.json"]


def test_the_content_is_on_the_disk_before_the_name_changes(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    replace_text(path, "new")
    assert calls == ["fsync", "replace"]


def test_a_link_to_the_file_itself_leaves_one_name(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"same")
    with replaced_file(path) as partial:
        os.link(path, partial)
    assert names(tmp_path) == ["a.bin"]
    assert path.read_bytes() == b"same"
