"""Keeps, drops and restores the versions of a prepared dataset, each time by one exchange of folders.

The new state is made of hard links in a hidden folder, so a killed process has changed nothing or everything.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data_pipeline import advice
from data_pipeline.dataset.dataset import PreparedDataset, open_dataset
from data_pipeline.dataset.manifest import MANIFEST, read_manifest
from data_pipeline.dataset.new_folder import replaced_folder
from data_pipeline.dataset.versions import (
    VERSIONS,
    dataset_root,
    dataset_versions,
    former_folders,
    is_former,
    named_version,
    version_id,
)
from data_pipeline.errors import UserError

# File systems without hard links, at their limit, or that refuse links to files of others.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


def require_replaceable(path: Path) -> None:
    """Raises UserError for a former version, and for a folder with other files, which would be lost."""
    if is_former(path):
        root = str(dataset_root(path))
        restore = advice.words(
            f"reeltrain versions {shlex.quote(root)} --restore {path.name}",
            f"reeltrain.restore_version({root!r}, {path.name!r})",
        )
        raise UserError(f"{path}: a former version is never changed; `{restore}` makes it the present one")
    _refuse_foreign(path)


def keep_versions(new: Path, root: Path) -> None:
    """Links all versions of the dataset at `root` into the folder `new` that will replace it.

    A file that the new version has too is stored once.
    """
    _refuse_foreign(root)
    _keep({_id_of(root): root, **{each.name: each for each in former_folders(root)}}, new)


def drop_versions(path: Path, names: Iterable[str]) -> list[str]:
    """Deletes versions of a dataset, all or none of them; returns their ids.

    Args:
        path: the folder of the dataset.
        names: ids, or how they start.

    Raises:
        UserError: no such version, the present one, or another process is writing the dataset.
    """
    root = dataset_root(path)
    _chosen(root, names, path)
    with replaced_folder(root) as new:
        dropped = _chosen(root, names, path)  # again, now under the lock
        _refuse_foreign(root)
        _link_files(root, new)
        _keep({each.name: each for each in former_folders(root) if each not in dropped}, new)
    return [folder.name for folder in dropped]


def restore_version(path: Path, name: str) -> PreparedDataset:
    """Makes a former version the present one; the present one becomes a former one. This undoes an append.

    Args:
        path: the folder of the dataset.
        name: the version's id, or how it starts.

    Raises:
        UserError: no such version, it is damaged, or another process is writing the dataset.
    """
    root = dataset_root(path)
    named_version(dataset_versions(root), name, path=path)
    with replaced_folder(root) as new:
        chosen = named_version(dataset_versions(root), name, path=path)
        open_dataset(chosen.path)  # a damaged one must not become the present one
        _refuse_foreign(root)
        _link_files(chosen.path, new)
        _keep({_id_of(root): root, **{each.name: each for each in former_folders(root)}}, new)
    return open_dataset(root)


def _chosen(root: Path, names: Iterable[str], path: Path) -> list[Path]:
    """The folders of former versions that are to be dropped."""
    versions = dataset_versions(root)
    chosen = [named_version(versions, name, path=path) for name in names]
    for each in chosen:
        if each.is_present:
            raise UserError(f"{path}: the present version cannot be dropped, got {each.id}")
    return list(dict.fromkeys(each.path for each in chosen))


def _id_of(folder: Path) -> str:
    return version_id(read_manifest(folder)["fingerprint"])


def _keep(versions: Mapping[str, Path], new: Path) -> None:
    """Links versions (name -> folder) below `new`, except the one that `new` itself holds now."""
    manifest = read_manifest(new)
    stored = {(name, entry["sha256"]): new / name for name, entry in manifest["files"].items()}
    kept = {name: folder for name, folder in versions.items() if name != version_id(manifest["fingerprint"])}
    for name, folder in kept.items():
        (new / VERSIONS / name).mkdir(parents=True)
        _link_files(folder, new / VERSIONS / name, stored)


def _link_files(folder: Path, into: Path, stored: Mapping[tuple[str, str], Path] | None = None) -> None:
    """Links all files of a version; `stored`: (name, SHA-256) -> the same file of the new version."""
    entries: dict[str, dict] = {}
    if stored:
        try:
            entries = read_manifest(folder)["files"]
        except UserError:  # a damaged version is kept as it is
            entries = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            digest = entries.get(file.name, {}).get("sha256", "")
            _link((stored or {}).get((file.name, digest), file), into / file.name)


def _link(file: Path, new: Path) -> None:
    """A hard link, or a copy with the same time where there are none."""
    try:
        os.link(file, new)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy2(file, new)


def _refuse_foreign(root: Path) -> None:
    """Raises UserError if the folder holds what is no part of the dataset: it would be lost."""
    known = {MANIFEST, VERSIONS, *read_manifest(root)["files"]}
    foreign: Sequence[str] = sorted(
        entry.name for entry in root.iterdir() if entry.name not in known and not entry.name.startswith(".")
    )
    if foreign:
        raise UserError(
            f"{root}: must hold nothing but the dataset, since the folder is replaced as a whole; "
            f"move away {', '.join(foreign[:3])}"
        )
