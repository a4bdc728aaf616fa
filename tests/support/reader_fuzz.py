"""Fuzzes the readers with malformed files. By hand: python -m support.reader_fuzz [CASES] [FIRST SEED]."""

import csv
import io
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError
from data_pipeline.parsing import blocks
from data_pipeline.parsing.blocks import BYTE_ORDER_MARK
from data_pipeline.sources.open_source import open_source
from support.odd_files import FORMATS, IDS, NUMBERS, compressed, mutated, text_file
from support.reading import read_data, write
from support.slow_reader import Expected, csv_rows, expect, rows_of, written_as_integers


def text_case(rng: random.Random, folder: Path) -> str:
    """A text file, maybe compressed, must give exactly the rows of the slow reader, or an error."""
    name = rng.choice(list(FORMATS))
    content = rng.randbytes(rng.choice([1, 100, 3000])) if rng.random() < 0.03 else text_file(rng, name)
    content = mutated(rng, content)
    delimiter, quotes, has_header = FORMATS[name]
    stored, expected = content, None
    if rng.random() < 0.2:
        stored, expected = compressed(rng, content)
        name += ".gz"
    elif content.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1")):
        return "looks like another format"
    if expected is None:
        expected = expect(content, delimiter=delimiter, quotes=quotes, has_header=has_header)
    if not content:
        expected = Expected(refused=True)
    settings = {"format": "ml-1m"} if name.startswith("ratings.dat") else {}
    settings |= {"format": "ml-100k"} if name.startswith("u.data") else {}
    return compare(write(folder, stored, name), expected, settings)


def parquet_case(rng: random.Random, folder: Path) -> str:
    """A Parquet file must give its rows, or an error if it is damaged."""
    num_rows = rng.choice([0, 1, 50])
    ids = rng.choice(
        [
            pa.array(
                [rng.randrange(9) for _ in range(num_rows)], rng.choice([pa.int8(), pa.int64(), pa.uint32()])
            ),
            pa.array([rng.choice(IDS) for _ in range(num_rows)]),
            pa.array([rng.choice(IDS) for _ in range(num_rows)], pa.large_string()),
            pa.array([rng.choice(IDS[:9]) for _ in range(num_rows)]).dictionary_encode(),
            pa.array([rng.choice([1, None, 2**63]) for _ in range(num_rows)], pa.uint64()),
        ]
    )
    ratings = pa.array(
        [rng.choice([1.0, 2.5, -3.0, None, float("nan"), 1e300]) for _ in range(num_rows)], pa.float64()
    )
    if rng.random() < 0.5:
        ratings = pa.array([rng.randrange(5) for _ in range(num_rows)])
    table = pa.table({"user": ids, "item": [f"i{i}" for i in range(num_rows)], "rating": ratings})
    path = folder / "r.parquet"
    pq.write_table(
        table, path, row_group_size=rng.choice([7, 100]), compression=rng.choice(["snappy", "zstd", "none"])
    )
    users = [None if u is None else str(u) for u in table["user"].to_pylist()]
    limit = 3.4028234e38
    rows = [
        (user, item, rating, 0, 1.0)
        for user, item, rating in zip(users, table["item"].to_pylist(), ratings.to_pylist(), strict=True)
        if user is not None and user.strip() and rating is not None and abs(rating) < limit
    ]
    expected = Expected(rows=rows, bad_lines=[0] * (num_rows - len(rows)))
    content = path.read_bytes()
    if rng.random() < 0.5:
        damaged = mutated(rng, content)
        if damaged != content:
            return survive(write(folder, damaged, "r.parquet"), len(table))
    return compare(path, expected, {}, names_lines=False)


def side_case(rng: random.Random, folder: Path) -> str:
    """A side table must give every row that the csv module finds, with distinct ids, or an error."""
    num_rows = rng.choice([0, 3, 40])
    rows = [[f"{rng.choice('ai')}{row}", *rng.choices(IDS + NUMBERS, k=3)] for row in range(num_rows)]
    sink = io.StringIO(newline="")
    csv.writer(sink, quoting=csv.QUOTE_ALL).writerows([["item_id", "title", "genres", "x"], *rows])
    whole = sink.getvalue().encode()
    content = mutated(rng, whole)
    path = write(folder, content, "items.csv")
    ratings = write(folder, "user_id,item_id,rating\n1,1,1\n")
    try:
        table = open_source(ratings, DataConfig(items=str(path))).items
    except UserError as error:
        require_one_line(error, path)
        if content == whole and rows:
            raise AssertionError("an undamaged table must be read") from error
        return "side table refused"
    text = content.removeprefix(BYTE_ORDER_MARK).decode(errors="surrogateescape")
    header, *found = [row for _, row in csv_rows(text, ",") if row]
    assert len(table) == len(found) == len(set(table["item_id"].to_pylist()))
    assert all(len(row) == len(header) for row in found)
    return "side table read"


def compare(path: Path, expected: Expected, settings: dict, *, names_lines: bool = True) -> str:
    """Checks `bad_rows=drop` and `bad_rows=error` against the expectation; returns the kind of outcome."""
    refused = expected.refused or not expected.rows
    table, report, error = attempt(path, **settings, bad_rows="drop")
    if refused:
        assert error is not None, f"must be refused, got {len(table)} rows"
    else:
        assert error is None, error
        assert rows_of(table) == expected.rows
        assert report.dropped_rows == len(expected.bad_lines)
        assert len(report.first_dropped) == min(report.dropped_rows, 5)
        assert report.bytes_read == report.total_bytes == path.stat().st_size
        for name, position in (("user_id", 0), ("item_id", 1)):
            written = written_as_integers([row[position] for row in expected.rows])
            assert pa.types.is_integer(table[name].type) == written, f"{name} is {table[name].type}"
        for named, line in zip(report.first_dropped, expected.bad_lines if names_lines else [], strict=False):
            assert named.startswith(f"{path}:{line}: "), f"{named} must name line {line}"
    table, _, error = attempt(path, **settings)
    if refused or expected.bad_lines:
        assert error is not None, "a bad row must be an error"
        if expected.bad_lines and not expected.refused and names_lines:
            assert str(error).startswith(f"{path}:{expected.bad_lines[0]}: "), error
        return "refused" if refused else "some rows bad"
    assert error is None, error
    assert rows_of(table) == expected.rows
    return "read"


def survive(path: Path, num_rows: int) -> str:
    """A damaged Parquet file has no checksum: all of its rows, whatever is in them, or an error."""
    table, report, error = attempt(path, bad_rows="drop")
    if error is None:
        assert len(table) + report.dropped_rows == num_rows
        return "damaged, read"
    return "damaged, refused"


def attempt(path, **settings):
    """(table, report, None) or (None, None, the error)."""
    try:
        return *read_data(path, **settings), None
    except UserError as error:
        require_one_line(error, path)
        return None, None, error


def require_one_line(error, path):
    message = str(error)
    if len(message.splitlines()) != 1 or len(message) > 3000 or str(path) not in message:
        raise AssertionError(f"one line that names the file is wanted, got {message!r}") from error


def run_case(seed: int, folder: Path) -> str:
    """One file of the seed; returns what came of it."""
    rng = random.Random(seed)
    was = blocks.BLOCK_BYTES
    blocks.BLOCK_BYTES = rng.choice([1, 10, 100, 1000, was, was])
    try:
        case = rng.choices([text_case, parquet_case, side_case], [7, 2, 1])[0]
        return case(rng, folder)
    finally:
        blocks.BLOCK_BYTES = was


def main(num_cases: int = 10_000, first: int = 0) -> None:
    outcomes: Counter[str] = Counter()
    slowest = (0.0, 0)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + num_cases):
            began = time.perf_counter()
            try:
                outcomes[run_case(seed, Path(folder))] += 1
            except Exception as error:
                outcomes["FAILED"] += 1
                print(f"seed {seed}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            slowest = max(slowest, (time.perf_counter() - began, seed))
    print(dict(outcomes), f"slowest {slowest[0]:.2f} s, seed {slowest[1]}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
