"""What reading met."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ReadReport:
    """What reading met so far; filled while batches are read.

    Attributes:
        total_bytes, bytes_read: of the files, compressed as they are; 0 where there are none.
        rows: handed out in batches.
        dropped_rows: bad rows left out with `bad_rows=drop`.
        first_dropped: a few of them, each as its error would read.
    """

    total_bytes: int = 0
    bytes_read: int = 0
    rows: int = 0
    dropped_rows: int = 0
    first_dropped: list[str] = field(default_factory=list)
