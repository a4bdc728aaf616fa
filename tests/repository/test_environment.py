"""What is installed and locked: plain releases of TensorFlow and Keras 3, nothing else by that name."""

import re
from importlib import metadata
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
FORBIDDEN = re.compile(
    r"^(tf[-_]keras|keras[-_]nightly|tf[-_]nightly.*|tb[-_]nightly|tensorflow[-_].*nightly.*)$"
)


def locked(path):
    """name -> version of a lock file."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", path.read_text(), re.MULTILINE))


def test_there_are_locks():
    assert {"cpu.txt", "gpu.txt"} <= {path.name for path in LOCKS}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_lock_holds_no_nightly_and_no_tf_keras_and_no_address(path):
    packages = locked(path)
    assert packages
    assert not [name for name in packages if FORBIDDEN.match(name)]
    assert not [version for version in packages.values() if re.search(r"dev|rc|a\d|b\d", version)]
    assert "://" not in path.read_text()


@pytest.mark.parametrize("name", ["cpu.txt", "gpu.txt"])
def test_lock_holds_the_fixed_frame_with_hashes(name):
    path = ROOT / "requirements" / name
    packages = locked(path)
    tensorflow = packages["tensorflow-cpu" if name == "cpu.txt" else "tensorflow"]
    assert tensorflow.startswith("2.21.")
    assert packages["keras"].startswith("3.15.")
    assert path.read_text().count("--hash=sha256:") >= len(packages)


def test_locks_agree_on_every_version():
    versions = {}
    for path in LOCKS:
        for name, version in locked(path).items():
            assert versions.setdefault(name, version) == version, name


def test_installed_is_what_is_locked():
    installed = {
        dist.metadata["Name"].lower().replace("_", "-"): dist.version for dist in metadata.distributions()
    }
    assert not [name for name in installed if FORBIDDEN.match(name)]
    assert keras.backend.backend() == "tensorflow"
    lock = locked(ROOT / "requirements" / ("cpu.txt" if "tensorflow-cpu" in installed else "gpu.txt"))
    for name in ("keras", "numpy", "tensorboard", "tensorflow-cpu", "tensorflow", "protobuf", "pyarrow"):
        assert installed.get(name) == lock.get(name), name


def test_forbidden_names_are_recognised():
    for name in ("tf-keras", "tf_keras", "tf-nightly", "tf-nightly-cpu", "keras-nightly", "tb-nightly"):
        assert FORBIDDEN.match(name)
    for name in ("keras", "tensorflow", "tensorflow-cpu", "tensorboard"):
        assert not FORBIDDEN.match(name)
