"""The benchmarks report what fails or is missing in one line, and end."""

import sys
from pathlib import Path

import pytest

from conftest import PROJECT


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    yield
    for name in [name for name in sys.modules if name == "input_pipeline" or name.startswith("harness")]:
        del sys.modules[name]


@pytest.mark.parametrize("failing", ["ours", "gather", "streamed"])
def test_a_contender_that_fails_is_a_line_in_the_table(tmp_path, monkeypatch, capsys, failing):
    import input_pipeline

    def run(_program, job):
        if job["way"] == failing:
            return {"error": "ended with status 1"}
        numbers = ("rows_per_sec", "cores", "rss_before_mib", "asked_bytes", "disk_bytes", "first_secs")
        return dict.fromkeys(numbers, 1.0) | {"rows": 1}

    monkeypatch.setattr(input_pipeline, "run_contender", run)
    monkeypatch.setattr(input_pipeline, "end_cleanly_on_sigterm", lambda: None)  # of a script's process
    arguments = ["input_pipeline", "--quick", "--rows", "9", "--disk-rows", "9", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    input_pipeline.main()
    assert "ended with status 1" in capsys.readouterr().out


def test_too_little_disk_is_one_line_with_status_2(tmp_path, capsys):
    from harness.arguments import require_free_disk

    require_free_disk(tmp_path, 1)
    with pytest.raises(SystemExit) as ended:
        require_free_disk(tmp_path, 10**18)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "needs 1000000000.0 GB of disk" in message


def test_a_memory_limit_that_cannot_be_set_is_none(tmp_path, monkeypatch):
    from harness import limits

    (tmp_path / "groups").write_text("3:memory:/\n")
    monkeypatch.setattr(limits, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(limits, "MEMORY", tmp_path)

    def refuse(*_args):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(Path, "write_text", refuse)
    with limits.memory_limit(1) as group:
        assert group is None
    assert [path.name for path in tmp_path.iterdir()] == ["groups"]
