"""Fixtures of the tests of configuration files."""

import pytest

from launch.main import main

GOOD = "user_id,item_id,rating\n" + "".join(f"{r // 10},{r % 10},{r % 7 % 5 + 1}\n" for r in range(100))


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    """An empty working folder with ratings in good.csv."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    (tmp_path / "good.csv").write_text(GOOD)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Runs the command line in this process; returns (status, stdout, stderr)."""

    def run(*arguments):
        capsys.readouterr()
        status = 0
        try:
            main([*map(str, arguments)])
        except SystemExit as end:
            status = end.code
        return (status, *capsys.readouterr())

    return run
