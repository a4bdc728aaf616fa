"""Recommends the best unseen items to a user, or to many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dataset.vocabulary import UNKNOWN_INDEX
from data_pipeline.errors import UserError, shown
from data_pipeline.logs import log
from trainer.evaluation.baselines.bias import bias_model_of
from trainer.ranking.top_items import top_items
from trainer.run.trained_run import Run, load_run
from trainer.serving.candidates import candidates_of, ids_of
from trainer.serving.recommend_many import Lists, ManyUsers, Progress
from trainer.serving.table_file import table_format

if TYPE_CHECKING:
    import pandas as pd

    from trainer.serving.candidates import Ids, IdsOrPairs


@dataclass(frozen=True)
class Recommendation:
    """The items recommended to one user, best first.

    Attributes:
        known_user: whether the user is in the training rows. If not (cold start), the items are those with
            the highest item bias, shrunk so that a few high ratings do not suffice.
        items: columns item_id, title (None if unknown), score. At most k rows; fewer, or none, if the user
            has rated all other items. Scores are not clipped to the rating scale.
    """

    user_id: object
    known_user: bool
    items: pd.DataFrame


@overload
def recommend(
    run: Run | str | Path,
    user_id: object = None,
    *,
    user_ids: None = None,
    k: int = ...,
    exclude: IdsOrPairs | None = ...,
    only: Ids | None = ...,
    include_seen: bool = ...,
    out: None = None,
    progress: Progress | None = ...,
) -> Recommendation: ...


@overload
def recommend(
    run: Run | str | Path,
    user_id: None = None,
    *,
    user_ids: Literal["all"] | Ids,
    k: int = ...,
    exclude: IdsOrPairs | None = ...,
    only: Ids | None = ...,
    include_seen: bool = ...,
    out: None = None,
    progress: Progress | None = ...,
) -> pd.DataFrame: ...


@overload
def recommend(
    run: Run | str | Path,
    user_id: None = None,
    *,
    user_ids: Literal["all"] | Ids,
    k: int = ...,
    exclude: IdsOrPairs | None = ...,
    only: Ids | None = ...,
    include_seen: bool = ...,
    out: str | Path,
    progress: Progress | None = ...,
) -> Lists: ...


def recommend(
    run: Run | str | Path,
    user_id: object = None,
    *,
    user_ids: Literal["all"] | Ids | None = None,
    k: int = 10,
    exclude: IdsOrPairs | None = None,
    only: Ids | None = None,
    include_seen: bool = False,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Recommendation | pd.DataFrame | Lists:
    """Recommends the k items with the highest scores that the user has not rated in any split.

    Args:
        run: a trained run or its workdir.
        user_id: one raw id, text or a whole number; None: the user of the first test row.
        user_ids: many users instead: raw ids, a file of them (a `Path`), or "all" users of the training
            rows. A repeated id counts once, at its first place.
        exclude: item ids that are not recommended, or a file of them; with a column of users too, pairs that
            are not.
        only: the item ids that may be recommended, or a file of them.
        include_seen: also recommends items that the user has rated.
        out: writes the lists of `user_ids` to this file, in bounded memory: .parquet, .csv or .jsonl, the
            last two also with .gz. It appears when it is complete.
        progress: called with (users done, users in total), for `user_ids`.

    Returns:
        A `Recommendation`. With `user_ids` a DataFrame with columns user_id, rank (from 1), item_id, title,
        score, known_user; with `out` a `Lists`, its counts.

    Raises:
        UserError: k is not an integer of at least 1, `user_id` is not one id, or it is None and there is no
            test row, both `user_id` and `user_ids` are given, or a file holds no ids or cannot be written.
    """
    import pandas as pd

    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise UserError(f"k must be an integer of at least 1, got {shown(k)}")
    if user_ids is not None:
        if user_id is not None:
            raise UserError(f"recommend takes user_id or user_ids, got both: {shown(user_id)} too")
        if out is not None:
            table_format(Path(out))
        many = _many(load_run(run), user_ids, int(k), exclude, only, include_seen)
        if out is not None:
            return many.write(Path(out), progress)
        return pa.concat_tables([many.schema.empty_table(), *many.tables(progress)]).to_pandas()
    if out is not None:
        raise UserError(f"out needs user_ids, got only {out}")
    user_id = _one_id(user_id)
    run = load_run(run)
    dataset = run.dataset
    if user_id is None and not dataset.num_rows("test"):
        raise UserError(f"recommend needs a user id if there are no test rows, got neither in {dataset.name}")
    if user_id is None:
        user_id = dataset.table("test")["user_id"][0].as_py()
    user_index = int(dataset.user_vocabulary.index(pa.array([user_id]))[0])
    known_user = user_index != UNKNOWN_INDEX
    bias = None if known_user else bias_model_of(dataset)
    candidates = candidates_of(dataset, exclude=exclude, only=only, include_seen=include_seen)
    user = np.array([user_index], np.int32)
    best = top_items(
        bias or run.ranker,
        user,
        seen=candidates.excluded(dataset, pa.array([user_id]), user),
        k=min(k, len(dataset.items)),
        left_out=candidates.left_out,
    )[0]
    item_index = best[best > 0]
    # The same values as `predict` gives: the ranker's have the same order, but may be shifted.
    scores = (bias.predict if bias else run.scorer)(np.repeat(user, len(item_index)), item_index)
    items = pd.DataFrame(
        {
            "item_id": dataset.item_vocabulary.ids_of(item_index).to_pylist(),
            # As objects: pandas would make a missing title NaN.
            "title": pd.Series(dataset.titles(item_index), dtype=object),
            "score": scores,
        }
    )
    return Recommendation(user_id=user_id, known_user=known_user, items=items)


def _many(
    run: Run,
    user_ids: Literal["all"] | Ids,
    k: int,
    exclude: IdsOrPairs | None,
    only: Ids | None,
    include_seen: bool,
) -> ManyUsers:
    dataset = run.dataset
    if isinstance(user_ids, str) and user_ids == "all":
        users = dataset.user_vocabulary.ids
    else:
        given = ids_of(user_ids, "user_ids", "user_id")
        if not len(given):
            raise UserError("user_ids needs at least one user id, got none")
        users = pc.unique(given)
        if len(users) < len(given):
            log.info(f"recommend {len(given) - len(users):,} repeated user ids count once")
    return ManyUsers(
        run, users, k, candidates_of(dataset, exclude=exclude, only=only, include_seen=include_seen)
    )


def _one_id(user_id: object) -> object:
    """A raw id as Python's text or number; 3.0 means 3, as in a DataFrame.

    Raises:
        UserError: it is no id, or several.
    """
    if isinstance(user_id, np.generic):
        user_id = user_id.item()
    if isinstance(user_id, str):
        return user_id.encode(errors="replace").decode()  # half a surrogate pair is no id of a file
    if isinstance(user_id, float) and user_id.is_integer():
        user_id = int(user_id)
    if isinstance(user_id, int) and not -(2**63) <= user_id < 2**63:
        return str(user_id)
    if user_id is None or (isinstance(user_id, int) and not isinstance(user_id, bool)):
        return user_id
    raise UserError(f"user_id must be one id, text or a whole number, got {shown(user_id)}")
