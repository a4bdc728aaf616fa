"""A slow reference reader, with Python's csv module, row by row; the fast readers are compared with it."""

import calendar
import csv
import io
import math
import re
import sys
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

csv.field_size_limit(sys.maxsize)
A_NUMBER = re.compile(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?")
AN_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
NAMES = {
    "user_id": ("user_id", "userid", "user"),
    "item_id": ("item_id", "itemid", "item", "movie_id", "movieid", "movie"),
    "rating": ("rating",),
    "timestamp": ("timestamp", "time"),
    "weight": ("weight",),
}


@dataclass
class Expected:
    """The expected result of reading a file.

    Attributes:
        refused: the file as a whole must be refused.
        rows: (user, item, rating, time, weight) of the good rows.
        bad_lines: the line numbers of the bad rows.
    """

    refused: bool = False
    rows: list[tuple] = field(default_factory=list)
    bad_lines: list[int] = field(default_factory=list)


def expect(content: bytes, *, delimiter: str | None, quotes: bool, has_header: bool) -> Expected:
    """Reads a file; `delimiter=None` detects it from the header."""
    text = content.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    if delimiter is None:
        first = next((row for _, row in csv_rows(text, ",") if row), None)
        shown = next(iter(csv_texts(text, ",")), "")
        delimiter = "," if first is None else next((d for d in ",;\t|" if d in shown), ",")
    rows = [each for each in (csv_rows if quotes else split_rows)(text, delimiter) if each[1]]
    if quotes and csv_is_open(text, delimiter):
        return Expected(refused=True)
    if has_header:
        if not rows:
            return Expected(refused=True)
        header = rows.pop(0)[1]
        if any("\0" in name or not is_text(name) for name in header):
            return Expected(refused=True)
        columns = match(header)
    else:
        header = ["user_id", "item_id", "rating", "timestamp"]
        columns = {name: position for position, name in enumerate(header)}
    if columns is None:
        return Expected(refused=True)
    expected = Expected()
    for line, row in rows:
        values = values_of(row, columns, len(header))
        if values is None:
            expected.bad_lines.append(line)
        else:
            expected.rows.append(values)
    return expected


def csv_rows(text, delimiter):
    """(first line, fields) of every row."""
    taken = []

    def lines():
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    reader = csv.reader(lines(), delimiter=delimiter)
    for fields in reader:
        yield reader.line_num - len(taken) + 1, fields
        taken.clear()


def csv_texts(text, delimiter):
    """The text of every row that is not empty."""
    lines = list(io.StringIO(text, newline=""))
    numbers = [(line, row) for line, row in csv_rows(text, delimiter)]
    following_lines = [line for line, _ in numbers[1:]] + [len(lines) + 1]
    for (line, row), following in zip(numbers, following_lines, strict=False):
        if row:
            yield "".join(lines[line - 1 : following - 1]).rstrip("\r\n")


def csv_is_open(text, delimiter):
    """Whether the text ends in a quoted field."""
    *_, last = csv.reader(io.StringIO(text + "\nlast row", newline=""), delimiter=delimiter)
    return last != ["last row"]


def split_rows(text, delimiter):
    for number, line in enumerate(re.split("\r\n|\r|\n", text), start=1):
        yield number, line.split(delimiter) if line else []


def match(header):
    plain = [name.strip().lower() for name in header]
    columns = {}
    for column, names in NAMES.items():
        found = [name for name in names if name in plain]
        if found:
            if plain.count(found[0]) > 1:
                return None
            columns[column] = plain.index(found[0])
    return columns if {"user_id", "item_id", "rating"} <= columns.keys() else None


def values_of(row, columns, num_columns):
    if len(row) != num_columns or any("\0" in each for each in row):
        return None
    texts = {column: row[position] for column, position in columns.items()}
    if not all(is_text(text) for text in texts.values()):
        return None
    if not texts["user_id"].strip() or not texts["item_id"].strip():
        return None
    rating = number(texts["rating"])
    weight = number(texts["weight"]) if "weight" in texts else 1.0
    limit = float(np.finfo(np.float32).max)
    if not abs(rating) < limit or not 0 <= weight < limit:
        return None
    time = 0
    if "timestamp" in texts:
        text = texts["timestamp"].strip()
        time = iso_time(text) if re.fullmatch("[12][0-9]{3}-.*", text) else number(text)
        if not abs(time) < math.inf:
            return None
        time = int(text) if re.fullmatch("-?[0-9]+", text) else math.floor(time)
        if not -(2**63) <= time < 2**63:
            return None
    return texts["user_id"], texts["item_id"], np.float32(rating).item(), time, np.float32(weight).item()


def number(text):
    return float(text) if A_NUMBER.fullmatch(text.strip()) else math.nan


def iso_time(text):
    """Seconds since 1970; NaN unless the text is a date, or a date and a time."""
    form = r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?)?"
    match = re.fullmatch(form, text, re.ASCII)
    if not match or (match[4] and not match[3]):
        return math.nan
    date, minute, second, _, zone = match.groups()
    zone = "+0000" if zone in (None, "Z") else zone.replace(":", "")
    if not (zone[1:3] < "24" and zone[3:] < "60"):
        return math.nan
    try:
        time = datetime.strptime(f"{date} {minute or '00:00'}{second or ':00'}", "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return math.nan
    offset = int(f"{zone[0]}{int(zone[1:3]) * 60 + int(zone[3:])}") * 60
    return float(calendar.timegm(time.timetuple()) - offset) if time.second < 60 else math.nan


def is_text(text):
    return not any("\ud800" <= character <= "\udfff" for character in text)


def rows_of(table):
    """The rows of a table in the form of `Expected.rows`."""
    names = table.column_names
    columns = [
        [str(each) for each in table["user_id"].to_pylist()],
        [str(each) for each in table["item_id"].to_pylist()],
        table["rating"].to_pylist(),
        table["timestamp"].to_pylist() if "timestamp" in names else [0] * len(table),
        table["weight"].to_pylist() if "weight" in names else [1.0] * len(table),
    ]
    return list(zip(*columns, strict=True))


def written_as_integers(ids):
    """Whether a column of these ids must be read as integers."""
    return all(AN_INTEGER.fullmatch(each) and -(2**63) <= int(each) < 2**63 for each in ids)
