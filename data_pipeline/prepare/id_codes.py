"""Gives each raw id an integer code while rows are read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Integer ids in [0, WINDOW) are looked up in an array: 256 MiB of address space, of which only touched pages
# use memory. Other integers are looked up by binary search.
WINDOW = 1 << 26


class IdCodes:
    """Codes 0, 1, 2, ... for ids. The order of the codes is arbitrary, and results must not depend on it.

    Ids are integers until the first batch of strings. From then on all ids are strings, and 7 becomes '7'.

    >>> codes = IdCodes()
    >>> codes.codes(pa.array([70, 5, 70])).tolist(), codes.codes(pa.array(["x", "5"])).tolist()
    ([1, 0, 1], [2, 0])
    >>> codes.ids().to_pylist()
    ['5', '70', 'x']

    Args:
        known: ids that get the codes 0 to len(known) - 1.
    """

    def __init__(self, known: pa.Array | None = None) -> None:
        self._count = 0
        self._chunks: list[np.ndarray] = []  # integer ids in code order
        self._window = np.zeros(WINDOW, np.int32)  # code + 1; 0 = not seen
        self._far_ids = np.empty(0, np.int64)  # sorted
        self._far_codes = np.empty(0, np.int32)
        self._texts: dict[str, int] | None = None
        if known is not None:
            if pa.types.is_integer(known.type):
                self._add(known.to_numpy(zero_copy_only=False).astype(np.int64))
            else:
                self._texts = {text: code for code, text in enumerate(known.to_pylist())}

    def __len__(self) -> int:
        return self._count if self._texts is None else len(self._texts)

    def codes(self, ids: pa.Array) -> np.ndarray:
        """The codes (int32) of ids; new ids get the next codes."""
        if self._texts is None and pa.types.is_integer(ids.type):
            return self._integer_codes(ids.to_numpy(zero_copy_only=False).astype(np.int64, copy=False))
        if self._texts is None:
            self._texts = {
                text: code for code, text in enumerate(pc.cast(self.ids(), pa.string()).to_pylist())
            }
            self._chunks, self._window = [], np.zeros(0, np.int32)
        encoded = pc.cast(ids, pa.string()).dictionary_encode()
        texts = self._texts
        codes = [texts.setdefault(text, len(texts)) for text in encoded.dictionary.to_pylist()]
        return np.array(codes, np.int32)[encoded.indices.to_numpy()]

    def ids(self) -> pa.Array:
        """All ids in code order: int64 or string."""
        if self._texts is not None:
            return pa.array(list(self._texts), pa.string())
        return pa.array(np.concatenate(self._chunks) if self._chunks else [], pa.int64())

    def _integer_codes(self, ids: np.ndarray) -> np.ndarray:
        if not len(ids):
            return np.empty(0, np.int32)
        if ids.min() >= 0 and ids.max() < WINDOW:
            codes = self._window[ids]
            codes -= 1
            new = np.flatnonzero(codes < 0)
            if len(new):
                self._add(np.unique(ids[new]))
                codes[new] = self._window[ids[new]] - 1
            return codes
        near = (ids >= 0) & (ids < WINDOW)
        codes = np.empty(len(ids), np.int32)
        codes[near] = self._integer_codes(ids[near])
        distinct, inverse = np.unique(ids[~near], return_inverse=True)
        position = np.searchsorted(self._far_ids, distinct)
        inside = position < len(self._far_ids)
        known = np.zeros(len(distinct), bool)
        known[inside] = self._far_ids[position[inside]] == distinct[inside]
        self._add(distinct[~known])
        codes[~near] = self._far_codes[np.searchsorted(self._far_ids, distinct)][inverse]
        return codes

    def _add(self, new: np.ndarray) -> None:
        """Gives new integer ids the next codes, in the given order."""
        codes = np.arange(self._count, self._count + len(new), dtype=np.int32)
        self._count += len(new)
        self._chunks.append(new)
        near = (new >= 0) & (new < WINDOW)
        self._window[new[near]] = codes[near] + 1
        if not near.all():
            # Inserted in sorted position: sorting the whole array again would dominate the run time.
            order = np.argsort(new[~near])
            far_ids, far_codes = new[~near][order], codes[~near][order]
            position = np.searchsorted(self._far_ids, far_ids)
            self._far_ids = np.insert(self._far_ids, position, far_ids)
            self._far_codes = np.insert(self._far_codes, position, far_codes)
