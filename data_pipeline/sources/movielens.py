"""The folder layouts of MovieLens: their files, and the columns of each file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data_pipeline.parsing.lines import BARS, COLONS, CSV, TABS, Dialect
from data_pipeline.parsing.side_tables import SideFile

# The columns of ratings files without a header line.
COLUMNS = ("user_id", "item_id", "rating", "timestamp")
# The genre flags of u.item, in the order of u.genre.
GENRES = [
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War"),
    "Western",
]


def genres_of_flags(items: pa.Table) -> pa.Table:
    """Converts the 19 genre flags of u.item to one list column."""
    flags = zip(*(items[genre].to_pylist() for genre in GENRES), strict=True)
    genres = [[genre for genre, flag in zip(GENRES, row, strict=True) if flag] for row in flags]
    return items.drop_columns(GENRES).append_column("genres", pa.array(genres, pa.list_(pa.string())))


_GENRE_LIST = ("genres", "list")
_U_ITEM = SideFile(
    Path("u.item"),
    "item_id",
    BARS,
    names=("item_id", "title", "release_date", "video_release_date", "imdb_url", *GENRES),
    kinds=[("release_date", "category"), *((genre, "integer") for genre in GENRES)],
    left_out=("video_release_date", "imdb_url"),
    finish=genres_of_flags,
)
_U_USER = SideFile(
    Path("u.user"),
    "user_id",
    BARS,
    names=("user_id", "age", "gender", "occupation", "zip_code"),
    kinds=[("age", "integer"), ("gender", "category"), ("occupation", "category"), ("zip_code", "category")],
)
_LATIN_COLONS = Dialect("::", quotes=False, encoding="latin-1")


@dataclass(frozen=True)
class MovieLensFolder:
    """The layout of one MovieLens release.

    Attributes:
        ratings: the name of the ratings file.
        dialect: the dialect of the ratings file.
        side_files: optional files; their paths are relative to the folder.
        names: the columns of the ratings; None if the file has a header line.
    """

    ratings: str
    dialect: Dialect
    side_files: tuple[SideFile, ...]
    names: tuple[str, ...] | None = COLUMNS


FOLDERS = {
    "ml-100k": MovieLensFolder("u.data", TABS, (_U_ITEM, _U_USER)),
    "ml-1m": MovieLensFolder(
        "ratings.dat",
        COLONS,
        (
            SideFile(
                Path("movies.dat"), "item_id", _LATIN_COLONS, ("item_id", "title", "genres"), [_GENRE_LIST]
            ),
            SideFile(
                Path("users.dat"),
                "user_id",
                _LATIN_COLONS,
                ("user_id", "gender", "age", "occupation", "zip_code"),
                # Ages are the lower bounds of age groups; occupations are category codes.
                [("age", "integer"), ("occupation", "category"), ("zip_code", "category")],
            ),
        ),
    ),
    "ml-10m": MovieLensFolder(
        "ratings.dat",
        COLONS,
        (SideFile(Path("movies.dat"), "item_id", COLONS, ("item_id", "title", "genres"), [_GENRE_LIST]),),
    ),
    "ml-csv": MovieLensFolder(
        "ratings.csv",
        CSV,
        (SideFile(Path("movies.csv"), "item_id", CSV, kinds=[_GENRE_LIST]),),
        names=None,
    ),
}


def detect_folder(folder: Path) -> str | None:
    """The format of a MovieLens folder; None for any other folder."""
    if (folder / "u.data").is_file():
        return "ml-100k"
    if (folder / "ratings.dat").is_file():
        return "ml-1m" if (folder / "users.dat").is_file() else "ml-10m"
    if (folder / "ratings.csv").is_file() and (folder / "movies.csv").is_file():
        return "ml-csv"
    return None
