"""The versions of a prepared dataset: the present one, and those that appends replaced.

The present version lies at the top of the dataset's folder. A former one lies in `versions/<id>/` and is a
prepared dataset of its own. The id is the first 12 digits of the fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data_pipeline.dataset.manifest import MANIFEST, read_manifest
from data_pipeline.errors import UserError

VERSIONS = "versions"
_ID_DIGITS = 12


@dataclass(frozen=True)
class DatasetVersion:
    """One version of a prepared dataset.

    Attributes:
        id: the first 12 digits of its fingerprint; of a damaged version, the name of its folder.
        path: its folder, which can be given wherever a prepared dataset can.
        is_present: whether it is the version at the top of the folder.
        created: when it was written, in UTC and ISO 8601.
        splits: split -> number of rows.
        appended: rows that the append which made it read; 0 if `prepare` made it.
        bytes: the size of its files.
        own_bytes: of these, what no other version shares: dropping it frees them.
        damage: why it cannot be read, or None. Of a damaged version the counts are 0.
    """

    id: str
    path: Path
    is_present: bool
    created: str
    splits: dict[str, int]
    users: int
    items: int
    appended: int
    bytes: int
    own_bytes: int
    damage: str | None = None

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"path": str(self.path)}


def version_id(fingerprint: str) -> str:
    """The short name of the version with this fingerprint."""
    return fingerprint[:_ID_DIGITS]


def is_former(path: Path) -> bool:
    """Whether the folder is a former version in the folder of its dataset."""
    return dataset_root(path) != path.resolve()


def dataset_root(path: Path) -> Path:
    """The folder of the whole dataset to which a version belongs, resolved."""
    path = path.resolve()
    is_inside = path.parent.name == VERSIONS and (path.parents[1] / MANIFEST).is_file()
    return path.parents[1] if is_inside else path


def former_folders(root: Path) -> list[Path]:
    """The folders of all former versions of the dataset, damaged ones included, by name."""
    folder = root / VERSIONS
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def version_folder(path: Path, fingerprint: str) -> Path | None:
    """Where the version with this fingerprint lies now, or None; `path`: any version of its dataset.

    A version moves when another one replaces it, or when it is restored.
    """
    root = dataset_root(path)
    for folder in (path, root, root / VERSIONS / version_id(fingerprint)):
        if _fingerprint(folder) == fingerprint:
            return folder
    return None


def ids_of(path: Path) -> list[str]:
    """The ids of all versions of a dataset that can be read, the present one first."""
    root = dataset_root(path)
    found = (_fingerprint(folder) for folder in (root, *former_folders(root)))
    return [version_id(fingerprint) for fingerprint in found if fingerprint]


def dataset_versions(path: Path) -> list[DatasetVersion]:
    """All versions of a prepared dataset, oldest first.

    Raises:
        UserError: no prepared dataset there.
    """
    root = dataset_root(path)
    read_manifest(root)
    folders = [root, *former_folders(root)]
    sharing: dict[tuple[int, int], int] = {}
    for folder in folders:
        for file in _files(folder):
            sharing[_inode(file)] = sharing.get(_inode(file), 0) + 1
    versions = [_described(folder, root, sharing) for folder in folders]
    return sorted(versions, key=lambda each: (each.created, each.appended > 0, each.id))


def named_version(versions: Sequence[DatasetVersion], name: str, *, path: Path) -> DatasetVersion:
    """The version whose id starts with `name`.

    Raises:
        UserError: there is none, or several.
    """
    matching = [each for each in versions if name and each.id.startswith(name)]
    if len(matching) != 1:
        found = ", ".join(each.id for each in matching or versions)
        rule = f"{path}: must be the id of one version, or how it starts"
        raise UserError(f"{rule}, got {name!r}; {'it fits' if matching else 'there are'} {found}")
    return matching[0]


def _described(folder: Path, root: Path, sharing: dict[tuple[int, int], int]) -> DatasetVersion:
    files = list(_files(folder))
    damage, manifest = None, {}
    try:
        manifest = read_manifest(folder)
    except UserError as error:
        damage = str(error)
    written = folder / MANIFEST if (folder / MANIFEST).is_file() else folder
    appended = manifest.get("appended", [])
    return DatasetVersion(
        id=version_id(manifest["fingerprint"]) if manifest else folder.name,
        path=folder,
        is_present=folder == root,
        created=datetime.fromtimestamp(written.stat().st_mtime, UTC).isoformat(),
        splits=manifest.get("splits", {}),
        users=manifest.get("users", 0),
        items=manifest.get("items", 0),
        appended=appended[-1]["rows_read"] if appended else 0,
        bytes=sum(file.stat().st_size for file in files),
        own_bytes=sum(file.stat().st_size for file in files if sharing[_inode(file)] == 1),
        damage=damage,
    )


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.is_file()]


def _inode(file: Path) -> tuple[int, int]:
    return file.stat().st_dev, file.stat().st_ino


def _fingerprint(folder: Path) -> str | None:
    """The fingerprint of the version in this folder, or None; not checked, since it is asked for often."""
    try:
        return str(json.loads((folder / MANIFEST).read_text())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
