"""Writes any number of planted ratings as CSV or Parquet, in bounded memory.

    .venv/bin/python benchmarks/generate_ratings.py 200_000_000 ratings.csv

Columns: user_id, item_id, rating (0.5 to 5), timestamp (seconds, over 20 years). A rating is round(2 x (mean
+ user bias + item bias + p_u . q_i + noise)) / 2, clipped. User activity and item popularity have long tails.
No (user, item) pair repeats. Users are written block by block; the rows of a block are in random order. The
same arguments give the same rows.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

# Assumed values that make mean, spread and tails similar to MovieLens.
MEAN, USER_STDDEV, ITEM_STDDEV, FACTOR_STDDEV, NOISE_STDDEV, RANK = 3.5, 0.42, 0.5, 0.5, 0.85, 4
ROWS_PER_USER = 145
MAX_ITEMS = 60_000
BLOCK_ROWS = 1 << 20
FIRST_SECOND, SECONDS = 1_000_000_000, 20 * 365 * 86_400
SCHEMA = pa.schema(
    [("user_id", pa.int64()), ("item_id", pa.int64()), ("rating", pa.float64()), ("timestamp", pa.int64())]
)


def planted_batches(num_rows: int, *, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """Yields batches of at most `BLOCK_ROWS` rows; memory does not grow with `num_rows`."""
    num_items = min(MAX_ITEMS, max(50, num_rows // 300))
    rng = np.random.default_rng([seed, num_rows])
    popularity = np.cumsum(rng.lognormal(0, 1.4, num_items))
    popularity /= popularity[-1]
    item_bias = rng.normal(MEAN, ITEM_STDDEV, num_items).astype(np.float32)
    q_IF = rng.normal(0, FACTOR_STDDEV, (num_items, RANK)).astype(np.float32)
    first_user = 1
    for first in range(0, num_rows, BLOCK_ROWS):
        block_rows = min(BLOCK_ROWS, num_rows - first)
        num_users = max(2, -(-block_rows // min(ROWS_PER_USER, num_items // 3)))
        rng = np.random.default_rng([seed, num_rows, first])
        pairs = _distinct_pairs(rng, popularity, num_users, block_rows)
        user, item = np.divmod(pairs, num_items)
        user_bias = rng.normal(0, USER_STDDEV, num_users).astype(np.float32)
        p_UF = rng.normal(0, FACTOR_STDDEV, (num_users, RANK)).astype(np.float32)
        rating = user_bias[user] + item_bias[item] + np.einsum("rf,rf->r", p_UF[user], q_IF[item])
        rating += NOISE_STDDEV * rng.standard_normal(block_rows, np.float32)
        yield pa.record_batch(
            [
                user + first_user,
                item + 1,
                np.clip(np.round(2 * rating), 1, 10).astype(np.float64) / 2,
                FIRST_SECOND + rng.integers(0, SECONDS, block_rows),
            ],
            schema=SCHEMA,
        )
        first_user += num_users


def _distinct_pairs(
    rng: np.random.Generator, popularity: np.ndarray, num_users: int, num_rows: int
) -> np.ndarray:
    """`num_rows` distinct pairs in random order, int64: user * number of items + item."""
    activity = np.cumsum(rng.lognormal(0, 1, num_users))
    activity /= activity[-1]
    pairs = np.empty(0, np.int64)
    while len(pairs) < num_rows:
        missing = num_rows - len(pairs)
        user = np.searchsorted(activity, np.sort(rng.random(missing + missing // 8 + 16)))
        item = np.searchsorted(popularity, rng.random(len(user)))
        pairs = np.unique(np.concatenate([pairs, user * len(popularity) + item]))
    return rng.permutation(pairs)[:num_rows]


def write_ratings(num_rows: int, path: Path, *, seed: int = 0) -> None:
    """Writes `path`, a `.csv` or `.parquet` file."""
    if path.suffix == ".parquet":
        writer = pyarrow.parquet.ParquetWriter(path, SCHEMA)
    else:
        writer = pyarrow.csv.CSVWriter(path, SCHEMA)
    with writer:
        for batch in planted_batches(num_rows, seed=seed):
            writer.write_batch(batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int, help="number of ratings")
    parser.add_argument("out", type=Path, help="a new .csv or .parquet file")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.rows < 1 or args.out.suffix not in (".csv", ".parquet"):
        parser.error(
            f"rows must be at least 1 and OUT a .csv or .parquet file, got {args.rows} and {args.out}"
        )
    if not args.out.parent.is_dir():
        parser.error(f"the folder of OUT must exist, got {args.out.parent}")
    begin = time.perf_counter()
    write_ratings(args.rows, args.out, seed=args.seed)
    took = time.perf_counter() - begin
    print(f"{args.out}: {args.rows:,} rows, {args.rows / took:,.0f} rows/s", file=sys.stderr)


if __name__ == "__main__":
    main()
