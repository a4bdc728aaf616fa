"""The folder of a run: the files it writes and where they are."""

from __future__ import annotations

import json
import os
import platform
import shlex
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from data_pipeline import advice
from data_pipeline.dataset.dataset import PreparedDataset, open_version
from data_pipeline.dataset.manifest import MANIFEST
from data_pipeline.dataset.versions import (
    VERSIONS,
    dataset_root,
    ids_of,
    is_former,
    version_folder,
    version_id,
)
from data_pipeline.errors import UserError
from data_pipeline.files import replace_text
from data_pipeline.logs import log
from trainer.config import SETTINGS, Config, config_from_json, is_own_model
from trainer.config.own_model import how_to_name

RUNS = Path("runs")
WAIT_FOR_CHIEF_SECS = 600


@dataclass(frozen=True)
class Workdir:
    """A folder with config.json, environment.json, dataset, checkpoints, tensorboard, metrics.jsonl, logs."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def dataset(self) -> Path:
        return self.path / "dataset"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def is_started(self) -> bool:
        """Whether a run was started here."""
        return self.config_file.is_file()

    def require_usable(self) -> None:
        """Raises UserError if the folder holds anything that is not part of a run."""
        for path in (self.path, *self.path.parents):
            if path.exists() and not path.is_dir():
                raise UserError(f"{self.path}: the workdir must be a folder, got the file {path}")
        if self.path.is_dir() and not self.is_started():
            known = ("logs", "dataset")  # left by a run that was killed before it wrote its config.json
            others = sorted(
                p.name for p in self.path.iterdir() if p.name not in known and not p.name.startswith(".")
            )
            if others:
                raise UserError(f"{self.path}: the workdir must be new, empty or a run's, got {others[:3]}")

    def read(self) -> tuple[Config, PreparedDataset]:
        """The configuration and data set of the run."""
        content = self._content()
        config = self._config(content)
        return config, self._dataset(content)

    def dataset_in(self, given: PreparedDataset) -> PreparedDataset | None:
        """The version that the run was trained on, in the dataset that is given for it; None: it has none.

        A former version that is given by its own folder stands for itself only. The run keeps the place of a
        dataset that was moved.
        """
        content = self._content()
        known = content["dataset"]
        if is_former(given.path):
            found = given if given.fingerprint == known["fingerprint"] else None
        else:
            found = open_version(given.path, known["fingerprint"])
        if found is None and dataset_root(given.path) == dataset_root(self._dataset_path(content)):
            if not is_former(given.path):
                return self._dataset(content)  # says that it was dropped
        elif found is not None and not self._has_dataset(content):
            known["path"] = self._relative(found)
            _write_json(self.config_file, content)
        return found

    def _relative(self, dataset: PreparedDataset) -> str:
        """The folder of the whole dataset, seen from the workdir; the fingerprint tells the version."""
        return os.path.relpath(dataset_root(dataset.path), self.path.resolve())

    def _dataset_path(self, content: dict[str, Any]) -> Path:
        return (self.path / content["dataset"]["path"]).resolve()

    def _has_dataset(self, content: dict[str, Any]) -> bool:
        """Whether the run's version lies where the run was trained on it."""
        return version_folder(self._dataset_path(content), content["dataset"]["fingerprint"]) is not None

    def _dataset(self, content: dict[str, Any]) -> PreparedDataset:
        """The version that the run was trained on, whatever its dataset's present version is."""
        path, fingerprint = self._dataset_path(content), content["dataset"]["fingerprint"]
        dataset = open_version(path, fingerprint)
        if dataset is None:
            root = dataset_root(path)
            train = advice.words(
                f"reeltrain train DATASET --workdir {shlex.quote(str(self.path))}",
                f"reeltrain.train(DATASET, workdir={str(self.path)!r})",
            )
            if not (root / MANIFEST).is_file():
                raise UserError(
                    f"{self.path}: was trained on the dataset {root}, which is not there; "
                    f"if it or the run was moved, `{train}` records the new place"
                )
            raise UserError(
                f"{self.path}: was trained on version {version_id(fingerprint)} of the dataset {root}, which "
                f"was dropped or replaced: it has {', '.join(ids_of(root))}; put that version back into "
                f"{root / VERSIONS} from a copy, or train again in a new workdir"
            )
        return dataset

    def start(self, config: Config, dataset: PreparedDataset, *, precision: str) -> None:
        """Writes `config.json`, which makes this the folder of a run; `precision` is the one in force."""
        self.path.mkdir(parents=True, exist_ok=True)
        content = {
            "config": json.loads(config.to_json()),
            "precision": precision,
            "dataset": {
                "path": self._relative(dataset),
                "fingerprint": dataset.fingerprint,
                "source_fingerprint": dataset.manifest["source_fingerprint"],
            },
        }
        _write_json(self.config_file, content)

    def withdraw(self) -> None:
        """Undoes `start` after an error; keeps the prepared data for the next run."""
        self.config_file.unlink(missing_ok=True)

    def require_same_run(
        self, config: Config, *, fingerprint: str, precision: str, is_saved: bool = True
    ) -> None:
        """Raises UserError, naming the difference, unless configuration and data are the run's.

        Args:
            is_saved: whether the run has a checkpoint. One without may change everything but its data
                and whether its model is your own.
            fingerprint: of the ratings' source, or of the prepared dataset.
            precision: the one in force; on other hardware `auto` may stand for another.
        """
        content = self._content()
        if is_saved and precision != content["precision"]:
            raise UserError(
                f"{self.path}: this run was started in {content['precision']}, got {precision}; "
                f"give {advice.setting('train.precision', content['precision'])}"
            )
        began = self._config(content).flat()
        for key, value in config.flat().items():
            if value == began[key] or (key in SETTINGS and SETTINGS[key].changeable):
                continue
            # A model of one's own that this command merely did not name is not a change that was asked for.
            forgot_model = key == "model.name" and is_own_model(began[key]) and not is_own_model(value)
            if not is_saved and not key.startswith("data.") and not forgot_model:
                continue
            give = advice.another_workdir()
            if key == "model.name" and is_own_model(began[key]):
                give = f"{how_to_name(began[key])}, or {give}"
            raise UserError(
                f"{self.path}: this run was started with {key}={began[key]}, got {value}; give {give}"
            )
        known = content["dataset"]
        if fingerprint not in (known["source_fingerprint"], known["fingerprint"]):
            started_with = known["source_fingerprint"][:12]
            raise UserError(
                f"{self.path}: this run was started with another dataset ({started_with}), "
                f"got {fingerprint[:12]}; give {advice.another_workdir()}"
            )

    def precision(self) -> str:
        """The Keras dtype policy of the run."""
        return self._content()["precision"]

    def fingerprint(self) -> str:
        """That of the dataset's version that the run was trained on."""
        return self._content()["dataset"]["fingerprint"]

    def _config(self, content: dict[str, Any]) -> Config:
        """The configuration that the run was started with."""
        try:
            return config_from_json(json.dumps(content["config"]))
        except UserError as error:
            raise UserError(f"{self.config_file}: {error}") from None

    def _content(self) -> dict[str, Any]:
        """The content of `config.json`."""
        if not self.is_started():
            raise UserError(f"{self.path}: must be the workdir of a run, with a config.json; none found")
        try:
            content = json.loads(self.config_file.read_text())
            if not {"config", "dataset", "precision"} <= set(content):
                raise KeyError("config")
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self.config_file}: must be the config.json of a reeltrain run") from None
        return content

    def write_environment(self, **facts: Any) -> None:
        """Writes `environment.json`: versions, hardware, and the devices used."""
        versions = {
            name: metadata.version(name) for name in ("reeltrain", "keras", "numpy", "pyarrow", "tensorboard")
        }
        _write_json(
            self.path / "environment.json",
            {
                "python": platform.python_version(),
                **versions,
                "platform": platform.platform(),
                "cpu_count": os.cpu_count(),
                **facts,
            },
        )


def newest_workdir() -> Path:
    """The run under `runs/` that was started or continued last."""
    started = [path.parent for path in RUNS.glob("*/config.json")]
    if not started:
        raise UserError(f"WORKDIR: no run found under {RUNS}/; train one, or name its folder")
    return max(started, key=lambda path: (path / "config.json").stat().st_mtime)


def wait_for_chief(workdir: Workdir) -> None:
    """Waits until the chief has written the workdir; workers share its file system."""
    deadline = time.monotonic() + WAIT_FOR_CHIEF_SECS
    next_line = time.monotonic() + 3
    while not workdir.is_started():  # config.json comes after the dataset
        if time.monotonic() > deadline:
            raise TimeoutError(f"{workdir.path}: the chief wrote no config.json in {WAIT_FOR_CHIEF_SECS} s")
        if time.monotonic() > next_line:
            log.warning(f"waiting   for the chief to prepare the data of {workdir.path}")
            next_line += 15
        time.sleep(0.1)


def _write_json(path: Path, content: dict) -> None:
    replace_text(path, json.dumps(content, indent=2) + "\n")
