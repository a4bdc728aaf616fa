"""Changed or damaged datasets are refused with one clear line and exit status 2."""

import json
import random
import re
import shutil
import subprocess
import sys

import pytest

from data_pipeline.config import DataConfig
from data_pipeline.dataset.arrow_file import write_table
from data_pipeline.dataset.check import check_dataset
from data_pipeline.dataset.dataset import open_dataset
from data_pipeline.dataset.manifest import FORMAT_VERSION, manifest_checksum
from data_pipeline.errors import UserError
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.open_source import open_source
from launch.main import main
from support import runs


@pytest.fixture
def prepared(tiny_ratings, tmp_path):
    config = DataConfig(validation_fraction=0.1)
    return prepare_dataset(open_source(tiny_ratings, config), config, tmp_path / "prepared")


def change_manifest(path, **content):
    manifest = json.loads((path / "manifest.json").read_text()) | content
    manifest["checksum"] = manifest_checksum(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def nothing_there(path):
    for file in path.iterdir():
        file.unlink()


def newer_version(path):
    change_manifest(path, format_version=FORMAT_VERSION + 1)


def older_version(path):
    change_manifest(path, format_version=1)


def missing_file(path):
    (path / "users.arrow").unlink()


def truncated_file(path):
    content = (path / "train.arrow").read_bytes()
    (path / "train.arrow").write_bytes(content[:-7])


def manifest_of_bytes(path):
    (path / "manifest.json").write_bytes(b"\xff{")


def a_file_instead(path):
    shutil.rmtree(path)
    path.write_text("user_id,item_id,rating\n")


def manifest_of_another_kind(path):
    (path / "manifest.json").write_text("[1]")


def manifest_without_keys(path):
    (path / "manifest.json").write_text(json.dumps({"format_version": FORMAT_VERSION}))


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (a_file_instead, "a prepared dataset has a manifest.json, none found"),
        (nothing_there, "a prepared dataset has a manifest.json, none found"),
        (newer_version, f"reads dataset format {FORMAT_VERSION}, got {FORMAT_VERSION + 1}; update reeltrain"),
        (older_version, f"reads dataset format {FORMAT_VERSION}, got 1; prepare the ratings again"),
        (missing_file, "file users.arrow is missing"),
        (truncated_file, "train.arrow: must have "),
        (manifest_of_bytes, "not a reeltrain manifest"),
        (manifest_of_another_kind, "not a reeltrain manifest"),
        (manifest_without_keys, "not a reeltrain manifest: 'name' is missing"),
    ],
)
def test_a_damaged_dataset_is_not_opened(prepared, capsys, damage, rule):
    damage(prepared.path)
    with pytest.raises(UserError) as caught:
        open_dataset(prepared.path)
    assert rule in str(caught.value)
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "--check", str(prepared.path)])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err == f"reeltrain: {caught.value}\n"


def test_an_intact_dataset_passes(prepared, capsys):
    main(["prepare", "--check", str(prepared.path), "--json"])
    assert json.loads(capsys.readouterr().out)["rows"] == 600


@pytest.mark.parametrize("name", ["train", "validation", "test", "users", "items"])
def test_a_flipped_bit_anywhere_in_a_file_is_found(prepared, name):
    file = prepared.path / f"{name}.arrow"
    content, draw = file.read_bytes(), random.Random(name)
    for place in [0, len(content) - 1, *(draw.randrange(len(content)) for _ in range(20))]:
        changed = bytearray(content)
        changed[place] ^= 1 << draw.randrange(8)
        file.write_bytes(changed)
        with pytest.raises(UserError, match=rf"{name}\.arrow: SHA-256 must be .*: the file was changed"):
            check_dataset(prepared.path)
    file.write_bytes(content)
    check_dataset(prepared.path)


def test_a_flipped_bit_anywhere_in_the_manifest_is_found(prepared):
    file = prepared.path / "manifest.json"
    content, draw = file.read_bytes(), random.Random(0)
    for place in draw.sample(range(len(content)), 200):
        changed = bytearray(content)
        changed[place] ^= 1 << draw.randrange(7)
        file.write_bytes(changed)
        try:
            unchanged = json.loads(changed) == json.loads(content)
        except ValueError:
            unchanged = False
        if not unchanged:  # otherwise the flipped bit was in white space
            with pytest.raises(UserError):
                check_dataset(prepared.path)


def test_a_wrong_row_count_is_found(prepared):
    change_manifest(prepared.path, splits=prepared.manifest["splits"] | {"test": 119})
    with pytest.raises(UserError, match=r"test\.arrow: must have 119 rows, got 120"):
        check_dataset(prepared.path)


def test_files_of_another_dataset_are_found(prepared, tiny_ratings, tmp_path):
    # All checksums match, but the indices of the test rows refer to other vocabularies.
    config = DataConfig(validation_fraction=0.1, split_seed=7, min_item_ratings=17)
    other = prepare_dataset(open_source(tiny_ratings, config), config, tmp_path / "other")
    shutil.copy(other.path / "test.arrow", prepared.path / "test.arrow")
    change_manifest(
        prepared.path,
        files=prepared.manifest["files"] | {"test.arrow": other.manifest["files"]["test.arrow"]},
        splits=prepared.manifest["splits"] | {"test": other.num_rows("test")},
    )
    with pytest.raises(UserError, match=r"test\.arrow: item_index must be the index of item_id"):
        check_dataset(prepared.path)


def test_an_index_without_an_id_is_found(prepared):
    users = prepared.users.slice(0, 10)
    (prepared.path / "users.arrow").unlink()
    facts = write_table(prepared.path / "users.arrow", users)
    change_manifest(prepared.path, files=prepared.manifest["files"] | {"users.arrow": facts}, users=10)
    with pytest.raises(UserError, match=r"train\.arrow: user_index must be within 1 and 10, got 1 to 30"):
        check_dataset(prepared.path)


@pytest.mark.parametrize("name", ["train", "validation", "test", "users", "items"])
def test_a_flipped_bit_is_found_when_a_dataset_is_opened(prepared, name):
    file = prepared.path / f"{name}.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}\.arrow: SHA-256 must be .*: the file was changed"):
        open_dataset(prepared.path)


@pytest.mark.parametrize("content", [{"files": ["train.arrow"]}, {"settings": None}, {"splits": 3}])
def test_a_manifest_with_wrong_types_is_refused(prepared, content):
    change_manifest(prepared.path, **content)
    with pytest.raises(UserError, match=f"not a reeltrain manifest: {next(iter(content))} must be an object"):
        open_dataset(prepared.path)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"shuffle": 1}, r"does not know the setting data\.shuffle; update reeltrain"),
        ({"folds": 0}, r"data\.folds must be at least 2, got 0"),
    ],
)
def test_unknown_and_invalid_settings_in_a_manifest_are_refused(prepared, settings, rule):
    change_manifest(prepared.path, settings=prepared.manifest["settings"] | settings)
    with pytest.raises(UserError, match=rule):
        open_dataset(prepared.path)


@pytest.mark.slow
@pytest.mark.parametrize("permuted_rows", [0, 10_000])
def test_training_on_a_large_dataset_refuses_an_index_out_of_range(tmp_path, permuted_rows):
    # Like a flipped byte in a file too large to be verified at every start.
    data = runs.prepare_generated(tmp_path / "data", num_train=3000)
    file = data / "train.arrow"
    content, index = bytearray(file.read_bytes()), open_dataset(data).columns("train").segments[0]
    content[index.offsets["user_index"] + 4 * 1000 + 3] = 1  # 2^24 more
    file.write_bytes(content)
    code = (
        "import data_pipeline.dataset.dataset\n"
        "from data_pipeline.batches.order import BatchOrder\n"
        "from data_pipeline.batches.windows import Sizes\n"
        "data_pipeline.dataset.dataset.CHECKED_BYTES = 0\n"
        f"BatchOrder.__init__.__defaults__ = (Sizes({permuted_rows}, 4, 512, 2),)\n"
        "from launch.main import main\n"
        f"main(['train', {str(data)!r}, '--workdir', {str(tmp_path / 'run')!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    *_, last = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(
        rf"reeltrain: {file}: user_index must be within 0 and \d+, got 16777\d\d\d: the file was changed",
        last,
    )
