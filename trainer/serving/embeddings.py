"""The vectors of users and items as a DataFrame and as Parquet files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline import advice
from data_pipeline.errors import UserError
from data_pipeline.files import replaced_file
from trainer.run.trained_run import Run, load_run
from trainer.serving.vectors import SIDES, Side, Vectors, vectors_of

if TYPE_CHECKING:
    import pandas as pd

# Such a name means a file.
_OTHER_FILES = (".csv", ".gz", ".json", ".jsonl", ".npy", ".npz", ".tsv", ".txt")


def embeddings(run: Run | str | Path, side: Side) -> pd.DataFrame:
    """The vectors of all users or items of a run, a row for each id of the training rows.

    Args:
        run: a trained run or its workdir.
        side: `users` or `items`.

    Returns:
        A DataFrame with columns item_id, title, vector (float32 [dim]) and, for the model `mf`, bias; users
        have user_id and no title. `trainer.serving.vectors` says what the vectors of each model are.

    Raises:
        UserError: `side` is another word, or the model has no vectors.
    """
    import pandas as pd

    vectors = vectors_of(load_run(run), side)
    parts = [block.astype(np.float32, copy=False) for _, block in vectors.blocks()]
    columns: dict[str, object] = {f"{side[:-1]}_id": vectors.ids.to_pylist()}
    if vectors.titles is not None:
        columns["title"] = pd.Series(vectors.titles.to_pylist(), dtype=object)
    columns["vector"] = [row for part in parts for row in part]
    if vectors.biases is not None:
        columns["bias"] = vectors.biases.astype(np.float32)
    return pd.DataFrame(columns)


def embedding_files(out: Path, side: Side | None, *, overwrite: bool = False) -> dict[Side, Path]:
    """The files that `write_embeddings` is to write for `--out` and `--side`.

    Raises:
        UserError: they cannot be written, or one exists and `overwrite` is false.
    """
    is_file = out.suffix.lower() == ".parquet" and not out.is_dir()
    if is_file and side is None:
        give = advice.words("--side users or --side items", 'side="users" or side="items"')
        raise UserError(f"a file holds one side: give {give}, or a folder, got {out}")
    if side is not None and side not in SIDES:
        raise UserError(f"side must be users or items, got {side!r}")
    sides: Sequence[Side] = SIDES if side is None else (side,)
    files: dict[Side, Path] = {each: out if is_file else out / f"{each}.parquet" for each in sides}
    folder = out.parent if is_file else out
    if out.suffix.lower() in _OTHER_FILES and not out.exists():
        raise UserError(f"out must be a folder or a file that ends in .parquet, got {out}")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"out must be a folder or a file that ends in .parquet, got the file {folder}")
    if not is_file:
        folder = out.parent
    if not folder.is_dir():
        raise UserError(f"out must be in an existing folder, got {out}")
    for path in files.values():
        if path.is_dir() or (path.exists() and not overwrite):
            overwriting = advice.words("--overwrite", "overwrite=True")
            raise UserError(f"out must not exist unless {overwriting} is given, got {path}")
    return files


def write_embeddings(
    run: Run | str | Path, out: str | Path, *, side: Side | None = None, overwrite: bool = False
) -> dict[Side, Path]:
    """Writes vectors as Parquet: `users.parquet` and `items.parquet` in a folder, or one side in a file.

    The columns are those of `embeddings`; `vector` is a list of fixed size of float32. The schema's metadata
    has an entry `reeltrain`: JSON with model, step, dataset, fingerprint, source of the vectors and offset of
    the scores. Memory is bounded. All files appear together, when they are complete.

    Args:
        run: a trained run or its workdir.
        out: a folder, made if needed, or a file that ends in .parquet.
        side: `users` or `items`; None: both.
        overwrite: whether existing files are replaced.

    Returns:
        The written file of each side.

    Raises:
        UserError: `out` cannot be written or exists, or the model has no vectors; nothing is written.
    """
    files = embedding_files(Path(out), side, overwrite=overwrite)
    run = load_run(run)
    each = {name: vectors_of(run, name) for name in files}
    for path in files.values():
        path.parent.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        partials = {name: stack.enter_context(replaced_file(path)) for name, path in files.items()}
        for name, vectors in each.items():
            _write(partials[name], vectors, run)
    return files


def _write(path: Path, vectors: Vectors, run: Run) -> None:
    vector_type = pa.list_(pa.float32(), vectors.dim)
    fields = [pa.field(f"{vectors.side[:-1]}_id", vectors.ids.type)]
    if vectors.titles is not None:
        fields.append(pa.field("title", pa.string()))
    fields.append(pa.field("vector", vector_type))
    if vectors.biases is not None:
        fields.append(pa.field("bias", pa.float32()))
    about = {
        "model": run.config.model.name,
        "recipe": run.config.recipe,
        "run": run.workdir.name,
        "step": run.step,
        "dataset": run.dataset.name,
        "fingerprint": run.dataset.fingerprint,
        "side": vectors.side,
        "vectors": vectors.source,
        "score_offset": vectors.offset,
    }
    schema = pa.schema(fields, metadata={"reeltrain": json.dumps(about)})
    with pq.ParquetWriter(path, schema) as writer:
        for part, block in vectors.blocks():
            flat = pa.array(np.ascontiguousarray(block, np.float32).ravel())
            columns = [vectors.ids[part]]
            if vectors.titles is not None:
                columns.append(vectors.titles[part].cast(pa.string()))
            columns.append(pa.FixedSizeListArray.from_arrays(flat, type=vector_type))
            if vectors.biases is not None:
                columns.append(pa.array(vectors.biases[part].astype(np.float32)))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
