"""What `make build` makes: a wheel that trains where nothing else of the project is.

The environment that the wheel is installed into is empty, but for a .pth file to the packages of the
environment that runs the tests: installing TensorFlow again would take minutes. The editable installation
there is not seen, since Python reads .pth files in an environment's own folder only.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from conftest import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.system]

PACKAGES = ("data_pipeline", "launch", "reeltrain", "trainer")
LEFT_OUT = (
    ".git",
    ".venv",
    ".cache",
    "runs",
    "data",
    "dist",
    "build",
    "site",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
)


def run(*command, cwd, timeout=180):
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "CUDA_VISIBLE_DEVICES": "-1"},
        stdin=subprocess.DEVNULL,
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder dist/ that `make build` fills, in a copy of the project."""
    copy = tmp_path_factory.mktemp("build") / "reeltrain"
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (copy / ".venv").symlink_to(sys.prefix)
    # Left by an earlier build: must not come along.
    (copy / "reeltrain.egg-info").mkdir()
    (copy / "reeltrain.egg-info" / "SOURCES.txt").write_text("tests/conftest.py\n")
    run("make", "-o", ".venv/dev", "build", cwd=copy)
    return copy / "dist"


@pytest.fixture(scope="module")
def environment(built, tmp_path_factory):
    """bin/ of an environment with nothing but the wheel; see above."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=built)
    (wheel,) = built.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--disable-pip-version-check", wheel, cwd=built)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "of_the_tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "bin"


def sources():
    """The files of the packages as they are in the repository."""
    return {
        str(path.relative_to(PROJECT))
        for package in PACKAGES
        for path in (PROJECT / package).rglob("*")
        if path.suffix in (".py", ".typed")
    }


def test_the_wheel_holds_the_packages_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == sources()
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_the_source_distribution_holds_what_a_wheel_is_built_from_and_no_tests(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {Path(name).relative_to(Path(name).parts[0]).as_posix() for name in file.getnames()}
    assert sources() | {"pyproject.toml", "README.md", "LICENSE"} <= names
    folders = {name.split("/")[0] for name in names if "/" in name}
    assert folders == {*PACKAGES, "reeltrain.egg-info"}


def test_the_installed_command_trains_in_an_empty_folder(environment, tmp_path):
    settings = ["--set", "train.max_steps=20", "--set", "train.epochs=1"]
    result = json.loads(
        run(environment / "reeltrain", "train", "generated", *settings, "--json", cwd=tmp_path)
    )
    assert result["step"] == 20
    assert 0 < result["test_rmse"] < 5
    assert (tmp_path / result["workdir"] / "config.json").is_file()


def test_the_installed_package_is_imported_from_the_wheel(environment, tmp_path):
    program = (
        "import reeltrain, trainer, data_pipeline, launch\n"
        "packages = (reeltrain, trainer, data_pipeline, launch)\n"
        "print(reeltrain.__version__, *(package.__file__ for package in packages))\n"
        "print(reeltrain.prepare('generated', 'dataset').num_rows('test'))\n"
    )
    imported, rows = run(environment / "python", "-c", program, cwd=tmp_path).splitlines()
    version, *files = imported.split()
    assert f'\nversion = "{version}"\n' in (PROJECT / "pyproject.toml").read_text()
    assert all(Path(file).is_relative_to(environment.parent) for file in files), files
    assert int(rows) > 0
