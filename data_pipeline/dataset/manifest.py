"""The manifest of a prepared dataset: format version, settings, counts, checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
_KEYS = (
    *("name", "fingerprint", "settings", "splits", "files", "rating_scale", "source_fingerprint"),
    *("rows", "users", "items", "sparsity", "cold", "rmse_floor", "source_files", "appended"),
    *("dropped_rows", "first_dropped", "dropped_duplicates", "dropped_rare"),
)
_PIECE_BYTES = 1 << 20


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the prepared dataset in a folder.

    Raises:
        UserError: not a dataset, an unsupported format version, or the manifest was changed.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        version = manifest["format_version"]
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: a prepared dataset has a {MANIFEST}, none found") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path / MANIFEST}: not a reeltrain manifest: {error}") from None
    if version != FORMAT_VERSION:
        advice = (
            "prepare the ratings again"
            if isinstance(version, int) and version < FORMAT_VERSION
            else "update reeltrain"
        )
        raise UserError(
            f"{path}: this reeltrain reads dataset format {FORMAT_VERSION}, got {version}; {advice}"
        )
    check_manifest(path / MANIFEST, manifest)
    return manifest


def check_manifest(file: Path, manifest: dict) -> None:
    """Raises UserError unless the manifest has the form that `prepare` writes and matches its checksum."""
    missing = [key for key in _KEYS if key not in manifest]
    if missing:
        raise UserError(f"{file}: not a reeltrain manifest: {missing[0]!r} is missing")
    if manifest.get("checksum") != manifest_checksum(manifest):
        raise UserError(f"{file}: its content does not match its checksum: it was changed")
    for key in ("files", "settings", "splits"):
        if not isinstance(manifest[key], dict):
            raise UserError(
                f"{file}: not a reeltrain manifest: {key} must be an object, got {manifest[key]!r}"
            )
    for name, expected in manifest["files"].items():
        if not (isinstance(expected, dict) and {"bytes", "sha256"} <= set(expected)):
            raise UserError(
                f"{file}: not a reeltrain manifest: {name} needs bytes and sha256, got {expected!r}"
            )
    unknown = manifest["settings"].keys() - DataConfig.__dataclass_fields__.keys()
    if unknown:
        raise UserError(
            f"{file}: this reeltrain does not know the setting data.{min(unknown)}; update reeltrain"
        )
    try:
        DataConfig(**manifest["settings"])
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def check_files(path: Path, files: Mapping[str, dict]) -> None:
    """Verifies the SHA-256 of files.

    Args:
        files: file name -> its entry in the manifest.

    Raises:
        UserError: names the first file that was changed.
    """
    with ThreadPoolExecutor(2, "check") as threads:
        for name, digest in zip(files, threads.map(lambda name: _sha256(path / name), files), strict=True):
            if digest != files[name]["sha256"]:
                rule = f"SHA-256 must be {files[name]['sha256']}, got {digest}"
                raise UserError(f"{path / name}: {rule}: the file was changed")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def manifest_checksum(manifest: dict) -> str:
    """SHA-256 of a manifest, excluding the checksum itself."""
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Adds format version, dataset fingerprint and checksum to `content` and writes it as the manifest."""
    fingerprint = hashlib.sha256(json.dumps(content["files"], sort_keys=True).encode()).hexdigest()
    manifest = {"format_version": FORMAT_VERSION, **content, "fingerprint": fingerprint}
    manifest["checksum"] = manifest_checksum(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n")
