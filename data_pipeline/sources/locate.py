"""Finds the files that DATA means: ratings and side features, and their format."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_pipeline import advice
from data_pipeline.config import GIVEN, SPLIT_NAMES, DataConfig
from data_pipeline.dataset.manifest import MANIFEST
from data_pipeline.errors import UserError
from data_pipeline.parsing.blocks import first_line
from data_pipeline.parsing.column_names import COLUMN_ALIASES, ColumnNames
from data_pipeline.parsing.delimited import DelimitedRatings, open_delimited
from data_pipeline.parsing.lines import CSV, TABS, TSV, Dialect
from data_pipeline.parsing.parquet import ParquetRatings, open_parquet
from data_pipeline.parsing.side_tables import SideFile
from data_pipeline.sources.movielens import COLUMNS, FOLDERS, detect_folder

_COMPRESSED = (".gz", ".zst", ".zstd")
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_MOVIELENS_NAMES = {folder.ratings for folder in FOLDERS.values()}
_DELIMITERS = (",", ";", "\t", "|")


RatingsFile = DelimitedRatings | ParquetRatings


@dataclass(frozen=True)
class DataFiles:
    """The files of a source.

    Attributes:
        name: short name, used for default folder names.
        format: the format of the ratings: a key of `FOLDERS`, or `csv`, `tsv`, `parquet`.
        test_ratings: the test files of a predefined pair; `ratings` are then the training files.
    """

    name: str
    format: str
    ratings: tuple[Path, ...]
    test_ratings: tuple[Path, ...] = ()
    side_files: tuple[SideFile, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All files."""
        return (*self.ratings, *self.test_ratings, *(side.path for side in self.side_files))


def locate_files(data: str | Path, config: DataConfig) -> DataFiles:
    """Finds the files and detects their format from names and first bytes.

    Raises:
        UserError: a file is missing or does not fit the settings.
    """
    path = Path(data)
    predefined = config.split not in SPLIT_NAMES and not config.test
    if predefined and not path.is_dir():
        raise UserError(unknown_split_message(config))
    if path.is_file():
        located = DataFiles(_stem(path), _format_of_file(path, config.format), (path,))
    elif path.is_dir():
        located = _pair(path, config) if predefined else _folder(path, config)
    else:
        matches = tuple(Path(name) for name in sorted(glob.glob(str(data), recursive=True)))
        files = tuple(file for file in matches if file.is_file())
        if not files:
            raise UserError(f"DATA: no such file or folder: {data}")
        located = DataFiles(files[0].resolve().parent.name, _format_of_files(files, config.format), files)
    if config.test:
        located = _with_test_file(Path(config.test), located, config)
    configured = configured_side_files(config)
    kept = [side for side in located.side_files if side.key not in {each.key for each in configured}]
    return replace(located, side_files=(*kept, *configured))


def open_ratings(path: Path, format_name: str, column_names: ColumnNames) -> RatingsFile:
    """Opens one file of ratings and finds its columns."""
    if format_name == "parquet":
        return open_parquet(path, column_names)
    if format_name in ("csv", "tsv", "ml-csv"):
        return open_delimited(path, _header_dialect(path, format_name), column_names)
    return open_delimited(path, FOLDERS[format_name].dialect, column_names, names=COLUMNS)


def _folder(folder: Path, config: DataConfig) -> DataFiles:
    if (folder / MANIFEST).is_file():
        raise UserError(f"DATA must be ratings, got the prepared dataset {folder}")
    known = detect_folder(folder) if config.format == "auto" else config.format
    name = folder.resolve().name
    if known in FOLDERS:
        ratings = folder / FOLDERS[known].ratings
        if not ratings.is_file():
            raise UserError(f"data.format {known} needs the file {ratings}, which is missing")
        return DataFiles(name, known, (ratings,), side_files=_side_files(folder, known))
    visible = (file for file in folder.iterdir() if file.is_file() and not file.name.startswith((".", "_")))
    files = sorted(visible)
    if config.format == "auto":
        files = [file for file in files if _suffix(file) in _SUFFIXES]
    if not config.test:
        _require_no_predefined_pair(folder)
    if not files:
        raise UserError(
            "DATA: a folder of ratings must have u.data, ratings.dat "
            f"or CSV, TSV or Parquet files, got {folder}"
        )
    return DataFiles(name, _format_of_files(files, config.format), tuple(files))


def _with_test_file(test: Path, located: DataFiles, config: DataConfig) -> DataFiles:
    """Adds the test file that `data.test` names."""
    if not test.is_file():
        raise UserError(f"data.test: no such file: {test}")
    ratings = tuple(file for file in located.ratings if not file.samefile(test))
    if not ratings:
        raise UserError(f"data.test must be another file than DATA, got {test}")
    if located.format not in FOLDERS:
        _format_of_files((*ratings, test), config.format)
    return replace(located, ratings=ratings, test_ratings=(test,))


def _train_and_test(folder: Path) -> tuple[Path, Path] | None:
    """`train.csv` and `test.csv`, or those of another format; None unless there is exactly one of each."""
    files_of: dict[str, list[Path]] = {"train": [], "test": []}
    for file in sorted(folder.iterdir()):
        if _stem(file) in files_of and _suffix(file) in _SUFFIXES and file.is_file():
            files_of[_stem(file)].append(file)
    train, test = files_of.values()
    return (train[0], test[0]) if len(train) == len(test) == 1 else None


def _require_no_predefined_pair(folder: Path) -> None:
    """Raises UserError for a folder with predefined train and test files, which must not be mixed."""
    pair = _train_and_test(folder)
    if pair:
        give = advice.setting("data.split", GIVEN)
        raise UserError(
            f"DATA: {folder} has {pair[0].name} and {pair[1].name}: give {give} to test on "
            f"{pair[1].name}, or the glob '{folder}/*' to split all rows again"
        )
    tests = sorted(folder.glob("*.test"))
    names = [test.stem for test in tests if any(test.with_suffix(s).is_file() for s in (".base", ".train"))]
    if names:
        choice = advice.setting("data.split", names[0])
        raise UserError(f"DATA: {folder} has pairs of files {', '.join(names)}: choose one, as in {choice}")


def _pair(folder: Path, config: DataConfig) -> DataFiles:
    """`u1.base` and `u1.test`, ML-10M's `r1.train` and `r1.test`, or `train.csv` and `test.csv`."""
    given = _train_and_test(folder) if config.split == GIVEN else None
    if given:
        known = _format_of_files(given, config.format)
        return DataFiles(f"{folder.resolve().name}-{GIVEN}", known, given[:1], given[1:])
    if config.split == GIVEN:
        raise UserError(f"data.split {GIVEN!r} needs files such as train.csv and test.csv in {folder}")
    train = folder / f"{config.split}.base"
    if not train.is_file() and (folder / f"{config.split}.train").is_file():
        train = folder / f"{config.split}.train"
    test = folder / f"{config.split}.test"
    for path in (train, test):
        if not path.is_file():
            raise UserError(f"data.split {config.split!r} needs the file {path}, which is missing")
    known = (
        config.format if config.format != "auto" else detect_folder(folder) or _format_of_file(train, "auto")
    )
    side_files = _side_files(folder, known) if known in FOLDERS else ()
    return DataFiles(f"{folder.resolve().name}-{config.split}", known, (train,), (test,), side_files)


def _side_files(folder: Path, known: str) -> tuple[SideFile, ...]:
    files = (replace(side, path=folder / side.path) for side in FOLDERS[known].side_files)
    return tuple(side for side in files if side.path.is_file())


def configured_side_files(config: DataConfig) -> tuple[SideFile, ...]:
    """The side feature files that `data.users` and `data.items` name."""
    files = []
    for key, text in (("user_id", config.users), ("item_id", config.items)):
        if not text:
            continue
        path = Path(text)
        if not path.is_file():
            raise UserError(f"data.{key.removesuffix('_id')}s: no such file: {path}")
        is_parquet = _format_of_file(path, "auto") == "parquet"
        dialect = None if is_parquet else _header_dialect(path, "tsv" if _suffix(path) == ".tsv" else "csv")
        files.append(SideFile(path, key, dialect))
    return tuple(files)


def unknown_split_message(config: DataConfig) -> str:
    """The error message for an unknown split name."""
    names = ", ".join(SPLIT_NAMES)
    return f"data.split must be one of {names}, or a pair in a folder such as u1, got {config.split!r}"


def _format_of_files(files: Sequence[Path], format_name: str) -> str:
    formats = {_format_of_file(file, format_name): file for file in reversed(files)}
    if len(formats) > 1:
        (one, first), (other, second) = sorted(formats.items())[:2]
        raise UserError(
            f"DATA: all files must have the same format, got {first} ({one}) and {second} ({other})"
        )
    return next(iter(formats))


def _format_of_file(path: Path, format_name: str) -> str:
    if format_name != "auto":
        return format_name
    if _suffix(path) in _SUFFIXES:
        return _SUFFIXES[_suffix(path)]
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            return "parquet"
    line = first_line(path, TABS)
    content = line.content.lower() if line is not None else b""
    if b"::" in content:
        return "ml-1m"
    names = {name.strip(b' "') for name in re.split(rb"[,;\t|]", content)}
    has_header = not names.isdisjoint(alias.encode() for alias in COLUMN_ALIASES["user_id"])
    return "csv" if has_header and path.name not in _MOVIELENS_NAMES else "ml-100k"


def _header_dialect(path: Path, format_name: str) -> Dialect:
    """Tabs for TSV, commas for CSV; a CSV whose header has no comma uses the delimiter found there."""
    if format_name == "tsv":
        return TSV
    line = first_line(path, CSV) if path.stat().st_size else None
    header = line.content if line is not None else b""
    delimiter = next((each for each in _DELIMITERS if each.encode() in header), ",")
    return replace(CSV, delimiter=delimiter)


def _suffix(path: Path) -> str:
    """The suffix in lower case, without a compression suffix."""
    name = path.name.lower()
    return Path(name[: -len(Path(name).suffix)] if name.endswith(_COMPRESSED) else name).suffix


def _stem(path: Path) -> str:
    name = path.name
    return Path(name[: -len(Path(name).suffix)] if name.lower().endswith(_COMPRESSED) else name).stem
