"""What DATA is: which files of ratings and side features, in which format."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
    """The files that DATA means.

    Attributes:
        name: short name, for default folder names.
        format: of the ratings: a key of `FOLDERS`, or `csv`, `tsv`, `parquet`.
        test_ratings: the test part of a predefined pair; then `ratings` is the training part.
    """

    name: str
    format: str
    ratings: tuple[Path, ...]
    test_ratings: tuple[Path, ...] = ()
    side_files: tuple[SideFile, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (*self.ratings, *self.test_ratings, *(side.path for side in self.side_files))


def find_layout(data: str | Path, config: DataConfig) -> DataFiles:
    """Looks at names and first bytes.

    Raises:
        UserError: there is no such file, or it does not fit the settings.
    """
    path = Path(data)
    predefined = config.split not in SPLIT_NAMES and not config.test
    if predefined and not path.is_dir():
        raise UserError(predefined_rule(config))
    if path.is_file():
        layout = DataFiles(_stem(path), _format_of_file(path, config.format), (path,))
    elif path.is_dir():
        layout = _pair(path, config) if predefined else _folder(path, config)
    else:
        found = tuple(Path(name) for name in sorted(glob.glob(str(data), recursive=True)))
        files = tuple(file for file in found if file.is_file())
        if not files:
            raise UserError(f"DATA: no such file or folder: {data}")
        layout = DataFiles(files[0].resolve().parent.name, _format_of_files(files, config.format), files)
    if config.test:
        layout = _tested_on(Path(config.test), layout, config)
    given = given_side_files(config)
    kept = [side for side in layout.side_files if side.key not in {each.key for each in given}]
    return replace(layout, side_files=(*kept, *given))


def open_ratings(path: Path, format_name: str, choice: ColumnNames) -> RatingsFile:
    """One file of a layout, its columns found."""
    if format_name == "parquet":
        return open_parquet(path, choice)
    if format_name in ("csv", "tsv", "ml-csv"):
        return open_delimited(path, _header_dialect(path, format_name), choice)
    return open_delimited(path, FOLDERS[format_name].dialect, choice, names=COLUMNS)


def _folder(folder: Path, config: DataConfig) -> DataFiles:
    if (folder / MANIFEST).is_file():
        raise UserError(f"DATA: ratings are wanted, got the prepared dataset {folder}")
    known = detect_folder(folder) if config.format == "auto" else config.format
    name = folder.resolve().name
    if known in FOLDERS:
        ratings = folder / FOLDERS[known].ratings
        if not ratings.is_file():
            raise UserError(f"data.format {known} needs the file {ratings}, which is missing")
        return DataFiles(name, known, (ratings,), side_files=_side_files(folder, known))
    shown = (file for file in folder.iterdir() if file.is_file() and not file.name.startswith((".", "_")))
    files = sorted(shown)
    if config.format == "auto":
        files = [file for file in files if _suffix(file) in _SUFFIXES]
    if not config.test:
        _refuse_pairs(folder)
    if not files:
        raise UserError(
            f"DATA: a folder of ratings has u.data, ratings.dat or CSV, TSV or Parquet files, got {folder}"
        )
    return DataFiles(name, _format_of_files(files, config.format), tuple(files))


def _tested_on(test: Path, layout: DataFiles, config: DataConfig) -> DataFiles:
    """The layout with the test part that `data.test` names."""
    if not test.is_file():
        raise UserError(f"data.test: no such file: {test}")
    ratings = tuple(file for file in layout.ratings if not file.samefile(test))
    if not ratings:
        raise UserError(f"data.test must be another file than DATA, got {test}")
    if layout.format not in FOLDERS:
        _format_of_files((*ratings, test), config.format)
    return replace(layout, ratings=ratings, test_ratings=(test,))


def _train_and_test(folder: Path) -> tuple[Path, Path] | None:
    """`train.csv` and `test.csv`, or another format's; None where they are not both there."""
    found: dict[str, list[Path]] = {"train": [], "test": []}
    for file in sorted(folder.iterdir()):
        if _stem(file) in found and _suffix(file) in _SUFFIXES and file.is_file():
            found[_stem(file)].append(file)
    train, test = found.values()
    return (train[0], test[0]) if len(train) == len(test) == 1 else None


def _refuse_pairs(folder: Path) -> None:
    """What is train and test already is not mixed unasked."""
    pair = _train_and_test(folder)
    if pair:
        raise UserError(
            f"DATA: {folder} has {pair[0].name} and {pair[1].name}: give data.split={GIVEN} to test on "
            f"{pair[1].name}, or the glob '{folder}/*' to split all rows anew"
        )
    tests = sorted(folder.glob("*.test"))
    names = [test.stem for test in tests if any(test.with_suffix(s).is_file() for s in (".base", ".train"))]
    if names:
        raise UserError(f"DATA: {folder} has pairs of files: choose one by data.split={'|'.join(names)}")


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


def given_side_files(config: DataConfig) -> tuple[SideFile, ...]:
    """Those of `data.users` and `data.items`."""
    given = []
    for key, text in (("user_id", config.users), ("item_id", config.items)):
        if not text:
            continue
        path = Path(text)
        if not path.is_file():
            raise UserError(f"data.{key.removesuffix('_id')}s: no such file: {path}")
        is_parquet = _format_of_file(path, "auto") == "parquet"
        dialect = None if is_parquet else _header_dialect(path, "tsv" if _suffix(path) == ".tsv" else "csv")
        given.append(SideFile(path, key, dialect))
    return tuple(given)


def predefined_rule(config: DataConfig) -> str:
    """What is wrong with a split that is no name, where there is no folder with a pair."""
    names = ", ".join(SPLIT_NAMES)
    return f"data.split must be one of {names}, or a pair in a folder such as u1, got {config.split!r}"


def _format_of_files(files: Sequence[Path], wanted: str) -> str:
    formats = {_format_of_file(file, wanted): file for file in reversed(files)}
    if len(formats) > 1:
        (one, first), (other, second) = sorted(formats.items())[:2]
        raise UserError(f"DATA: files of one format are wanted, got {first} ({one}) and {second} ({other})")
    return next(iter(formats))


def _format_of_file(path: Path, wanted: str) -> str:
    if wanted != "auto":
        return wanted
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
    """Commas or tabs by the format; of a CSV without a comma in its header, what stands there instead."""
    if format_name == "tsv":
        return TSV
    line = first_line(path, CSV) if path.stat().st_size else None
    header = line.content if line is not None else b""
    delimiter = next((each for each in _DELIMITERS if each.encode() in header), ",")
    return replace(CSV, delimiter=delimiter)


def _suffix(path: Path) -> str:
    """The suffix in lower case, that of a compression left aside."""
    name = path.name.lower()
    return Path(name[: -len(Path(name).suffix)] if name.endswith(_COMPRESSED) else name).suffix


def _stem(path: Path) -> str:
    name = path.name
    return Path(name[: -len(Path(name).suffix)] if name.lower().endswith(_COMPRESSED) else name).stem
