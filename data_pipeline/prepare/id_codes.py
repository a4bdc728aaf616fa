"""Raw ids to codes while they come in: a table that grows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Integer ids from 0 on below this are looked up by address: 256 MiB of address space, of which memory is only
# what was touched. The others are found by bisection.
WINDOW = 1 << 26


class IdCodes:
    """Codes 0, 1, 2, ... for ids, in no order that matters: whatever is made of them must not depend on it.

    Ids are integers until the first batch of strings; then all are strings, and 7 is '7'.

    >>> codes = IdCodes()
    >>> codes.codes(pa.array([70, 5, 70])).tolist(), codes.codes(pa.array(["x", "5"])).tolist()
    ([1, 0, 1], [2, 0])
    >>> codes.ids().to_pylist()
    ['5', '70', 'x']

    Args:
        known: ids that have the codes 0 to len(known) - 1.
    """

    def __init__(self, known: pa.Array | None = None) -> None:
        self._count = 0
        self._chunks: list[np.ndarray] = []  # integer ids by code
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
        """The ids' codes (int32); new ids get the next ones."""
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
        """Row i is the id of code i: int64, or string."""
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
        place = np.searchsorted(self._far_ids, distinct)
        inside = place < len(self._far_ids)
        known = np.zeros(len(distinct), bool)
        known[inside] = self._far_ids[place[inside]] == distinct[inside]
        self._add(distinct[~known])
        codes[~near] = self._far_codes[np.searchsorted(self._far_ids, distinct)][inverse]
        return codes

    def _add(self, new: np.ndarray) -> None:
        """Gives the next codes to integer ids that have none, in the order given."""
        codes = np.arange(self._count, self._count + len(new), dtype=np.int32)
        self._count += len(new)
        self._chunks.append(new)
        near = (new >= 0) & (new < WINDOW)
        self._window[new[near]] = codes[near] + 1
        if not near.all():
            # Put where they belong: to sort all of it again takes longer than all the rest.
            order = np.argsort(new[~near])
            far_ids, far_codes = new[~near][order], codes[~near][order]
            place = np.searchsorted(self._far_ids, far_ids)
            self._far_ids = np.insert(self._far_ids, place, far_ids)
            self._far_codes = np.insert(self._far_codes, place, far_codes)
