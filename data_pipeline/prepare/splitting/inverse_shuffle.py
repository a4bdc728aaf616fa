"""`numpy.random.RandomState.shuffle` backwards: which rows come to have a label, without shuffling the rows.

The shuffle swaps row i with a random row j <= i, for i from the last to 1. Undone, the swaps bring the labels
of the places after it to the rows before it. Drawn and done thousands at a time this takes a third of the
time of the shuffle and, other than that, lets other threads go on.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

# Draws and swaps that are worked on at once are fewer where there are fewer rows to draw from: of a piece of
# n among N rows about n x n / N depend on one another and are dealt with one by one.
_MAX_PIECE = 1 << 14
_PIECE_PER_ROOT = 16
_SLOTS = 1 << 20


def undo_shuffle(labels: np.ndarray, seed: int) -> None:
    """Labels of places to labels of rows, in place: afterwards `labels[order]` is what `labels` was, where
    `order` is `RandomState(seed).permutation(len(labels))`.

    >>> labels = np.array([2, 2, 0, 0, 0], np.uint8)
    >>> undo_shuffle(labels, seed=42)
    >>> labels.tolist(), np.random.RandomState(42).permutation(5).tolist()
    ([0, 2, 0, 0, 2], [1, 4, 2, 0, 3])
    """
    undo_swaps(labels, draw_swaps(len(labels), seed, first=same_at_first(labels)))


def same_at_first(labels: np.ndarray) -> int:
    """How many labels are the same as the first one, from there on: swaps among these change nothing."""
    return int(np.argmax(labels != labels[0])) or len(labels) if len(labels) else 0


def draw_swaps(num_rows: int, seed: int, *, first: int) -> np.ndarray:
    """int32 [num_rows - first]: with which row the shuffle swaps row `first`, `first` + 1, ...

    A number up to i is drawn as 32 bits, of which as many are kept as i has, until it is not above i.
    """
    swaps = np.empty(max(0, num_rows - first), np.int32)
    generator = np.random.RandomState(seed)
    raw = np.empty(0, np.uint32)
    last = num_rows - 1
    while last >= first:
        if not len(raw):
            raw = generator.randint(0, 2**32, _MAX_PIECE, np.uint32)
        mask = (1 << last.bit_length()) - 1
        values = raw[: _piece(last)] & np.uint32(mask)
        taken = np.flatnonzero(_taken(values, last))[: last + 1 - max(first, mask // 2 + 1)]
        swaps[last + 1 - len(taken) - first : last + 1 - first] = values[taken[::-1]]
        last -= len(taken)
        # With another mask what comes after the last one taken is looked at again.
        raw = raw[len(values) if last > mask // 2 else int(taken[-1]) + 1 :]
    return swaps


def _taken(values: np.ndarray, last: int) -> np.ndarray:
    """Which values are not above `last` less the number of those taken before."""
    taken = values <= max(0, last - len(values))
    unsure = np.flatnonzero((values <= last) & ~taken)
    before = np.searchsorted(np.flatnonzero(taken), unsure)
    more = 0
    for place, limit in zip(unsure.tolist(), (last - before - values[unsure]).tolist(), strict=True):
        if limit >= more:
            taken[place] = True
            more += 1
    return taken


def undo_swaps(labels: np.ndarray, swaps: np.ndarray) -> None:
    """Undoes the swaps of the last `len(swaps)` rows, the last swap, that of the first of them, first."""
    first = begin = len(labels) - len(swaps)
    number = np.arange(_MAX_PIECE, dtype=np.uint16)
    newest = np.zeros(_SLOTS, np.uint16)
    one_by_one = labels.data
    while begin < len(labels):
        other = swaps[begin - first : begin - first + _piece(begin)].astype(np.intp)
        size = len(other)
        # Late is who swaps with a row that an earlier one of the piece has touched, or so it seems.
        slot = other & (_SLOTS - 1)
        newest[slot[::-1]] = number[:size][::-1]
        late = np.flatnonzero((newest[slot] != number[:size]) | (other >= begin))
        then = list(zip((late + begin).tolist(), other[late].tolist(), strict=True))
        other[late] = late + begin  # itself
        moved = labels[other]
        labels[other] = labels[begin : begin + size]
        labels[begin : begin + size] = moved
        for i, j in then:
            one_by_one[i], one_by_one[j] = one_by_one[j], one_by_one[i]
        begin += size


def _piece(rows: int) -> int:
    return min(_MAX_PIECE, _PIECE_PER_ROOT * (isqrt(rows) + 1))
