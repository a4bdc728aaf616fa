"""The columns of one split: memory-mapped arrays, one segment per record batch, readable in slices."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_pipeline.errors import UserError

# Rows per record batch of a prepared dataset: 4 MB per column, so that writing never holds a whole split.
SEGMENT_ROWS = 2**20
DTYPES = {"user_index": np.int32, "item_index": np.int32, "rating": np.float32, "weight": np.float32}
REQUIRED = {"user_index", "item_index", "rating"}


@dataclass(frozen=True)
class Segment:
    """A contiguous range of rows.

    Attributes:
        arrays: column name -> values, all of equal length; without `weight` if every row has weight 1.
        offsets: column name -> byte offset of its values in the file; empty for in-memory arrays.
    """

    arrays: Mapping[str, np.ndarray]
    offsets: Mapping[str, int]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))


class Columns:
    """One split, ready for training. Create it with `open` or `from_arrays`.

    `user_index` and `item_index` are int32 embedding rows, 0 = unknown; `rating` is float32 on the original
    scale; `weight` is the float32 training weight of each row, finite and at least 0, or None if all are 1.
    The whole-column properties are views of the file if it has one segment, else copies made on first access.
    `read` needs no memory beyond the array it fills.

    Attributes:
        segments: the rows in order, one segment per record batch; no copies.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        *,
        file: _File | None = None,
        num_indices: Mapping[str, int] | None = None,
    ) -> None:
        self.segments = tuple(segments)
        self._file = file
        self._num_indices = num_indices or {}
        self._ends = np.cumsum([len(segment) for segment in self.segments], dtype=np.int64)

    @classmethod
    def from_arrays(
        cls,
        user_index: np.ndarray,
        item_index: np.ndarray,
        rating: np.ndarray,
        weight: np.ndarray | None = None,
    ) -> Columns:
        """In-memory columns in one segment.

        >>> columns = Columns.from_arrays(np.array([1, 2]), np.array([7, 7]), np.array([4.5, 3]))
        >>> len(columns), columns.item_index, columns.weight
        (2, array([7, 7], dtype=int32), None)
        """
        arrays = {"user_index": user_index, "item_index": item_index, "rating": rating}
        if weight is not None:
            arrays["weight"] = weight
        arrays = {name: np.ascontiguousarray(array, DTYPES[name]) for name, array in arrays.items()}
        assert len({array.shape for array in arrays.values()}) == 1
        return cls([Segment(arrays, {})])

    @classmethod
    def open(cls, path: Path, *, num_indices: Mapping[str, int] | None = None) -> Columns:
        """Memory-maps the columns of an Arrow IPC file without reading them; ignores other columns.

        Args:
            num_indices: index column -> number of valid indices. Reading an index out of range raises
                `UserError`; otherwise it would silently select the wrong embedding.

        Raises:
            UserError: not an Arrow IPC file, a missing column, a wrong type, or a column with nulls.
        """
        try:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            # Each batch's metadata is a few bytes; without this the kernel reads ahead megabytes around each.
            mapped.madvise(mmap.MADV_RANDOM)
            source = pa.py_buffer(mapped)
            reader = pa.ipc.open_file(source)
        except (pa.ArrowInvalid, ValueError) as error:
            raise UserError(f"{path}: not an Arrow IPC file: {error}") from None
        missing = REQUIRED.difference(reader.schema.names)
        if missing:
            names_in_file = ", ".join(reader.schema.names)
            raise UserError(
                f"{path}: must have the columns {', '.join(sorted(REQUIRED))}, got {names_in_file}"
            )
        names = [name for name in DTYPES if name in reader.schema.names]
        segments = []
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            try:
                arrays = {name: batch[name].to_numpy(zero_copy_only=True) for name in names}
            except pa.ArrowInvalid as error:
                raise UserError(f"{path}: {', '.join(names)} must have no nulls: {error}") from None
            for name, array in arrays.items():
                if array.dtype != DTYPES[name]:
                    raise UserError(f"{path}: {name} must be {DTYPES[name].__name__}, got {array.dtype}")
            offsets = {
                name: array.__array_interface__["data"][0] - source.address for name, array in arrays.items()
            }
            in_file = all(0 <= offset < source.size for offset in offsets.values())
            segments.append(Segment(arrays, offsets if in_file else {}))
        mapped.madvise(mmap.MADV_NORMAL)
        return cls(segments, file=_File(path), num_indices=num_indices)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def names(self) -> tuple[str, ...]:
        """The present columns, in the order of `DTYPES`."""
        return tuple(self.segments[0].arrays) if self.segments else tuple(DTYPES)[:3]

    @cached_property
    def user_index(self) -> np.ndarray:
        return self._whole("user_index")

    @cached_property
    def item_index(self) -> np.ndarray:
        return self._whole("item_index")

    @cached_property
    def rating(self) -> np.ndarray:
        return self._whole("rating")

    @cached_property
    def weight(self) -> np.ndarray | None:
        return self._whole("weight") if "weight" in self.names else None

    def only(self, *names: str) -> Columns:
        """The same rows restricted to the named columns."""
        segments = [
            Segment({n: s.arrays[n] for n in names}, {n: o for n, o in s.offsets.items() if n in names})
            for s in self.segments
        ]
        return Columns(segments, file=self._file, num_indices=self._num_indices)

    def read(self, name: str, first: int, out: np.ndarray) -> None:
        """Fills `out` with a column's rows [first, first + len(out)).

        Files are read with `pread`, not through the memory map: no read-ahead, other threads keep running,
        and a disk error raises an exception instead of a signal (SIGBUS).
        """
        assert 0 <= first <= first + len(out) <= len(self)
        number = int(np.searchsorted(self._ends, first, side="right"))
        done = 0
        while done < len(out):
            segment = self.segments[number]
            begin = first + done - (int(self._ends[number]) - len(segment))
            part = out[done : done + len(segment) - begin]
            if self._file is not None and segment.offsets:
                self._file.read(segment.offsets[name] + begin * part.itemsize, part)
            else:
                part[:] = segment.arrays[name][begin : begin + len(part)]
            done += len(part)
            number += 1
        self._require_in_range(name, out)

    def _whole(self, name: str) -> np.ndarray:
        if len(self.segments) == 1:
            values = self.segments[0].arrays[name]
            self._require_in_range(name, values)
            return values
        whole = np.empty(len(self), DTYPES[name])
        if len(whole):
            self.read(name, 0, whole)
        return whole

    def _require_in_range(self, name: str, values: np.ndarray) -> None:
        if name not in self._num_indices or not len(values):
            return
        # Viewed as unsigned, negative indices are too large as well, so one pass finds both.
        if values.view(np.uint32).max() >= self._num_indices[name]:
            rule = f"{name} must be within 0 and {self._num_indices[name] - 1}"
            wrong = values[values.view(np.uint32) >= self._num_indices[name]][0]
            source = f"{self._file.path}: " if self._file is not None else ""
            raise UserError(f"{source}{rule}, got {wrong}: the file was changed")


class _File:
    """An open file, thread-safe for reading, closed when garbage-collected."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        # The training order jumps between chunks, so read-ahead would be wasted.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def read(self, offset: int, out: np.ndarray) -> None:
        """Fills `out` with the bytes that start at `offset`."""
        left = out.view(np.uint8).data
        while left:
            count = os.preadv(self._file, [left], offset)
            if not count:
                raise OSError(f"{self.path}: ended at byte {offset} while it was being read")
            left, offset = left[count:], offset + count
