"""Lists of many users against a full sort in NumPy, user by user, and against `recommend` for one."""

import json
import os

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.errors import UserError
from data_pipeline.prepare.prepare import prepare_dataset
from data_pipeline.sources.generated import generate_ratings
from data_pipeline.sources.in_memory import source_of
from trainer.config import Config
from trainer.ranking.model_ranker import PairRanker
from trainer.run.trained_run import Run
from trainer.serving import recommend_many
from trainer.serving.recommend import recommend
from trainer.serving.table_file import table_file

COLUMNS = ["user_id", "rank", "item_id", "title", "score", "known_user"]


def score(user_index, item_index):
    """Distinct scores for each user: no ties."""
    return (user_index * 7919.0 + item_index * 104729.0) % 10007 / 10007


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """40 users, 30 items, a time split, so that some test users are unknown."""
    ratings = generate_ratings(num_users=40, num_items=30, num_ratings=500, seed=2)
    out = tmp_path_factory.mktemp("data") / "d"
    # Users 1 to 3 have ratings in the last tenth only.
    table = ratings.table.to_pandas()
    late = table["timestamp"] > table["timestamp"].quantile(0.9)
    table = ratings.table.filter((late | (table["user_id"] > 3)).to_numpy())
    import dataclasses

    dataset = prepare_dataset(
        source_of(dataclasses.replace(ratings, table=table)), DataConfig(split="time"), out
    )
    run = Run(workdir=out, config=Config(), dataset=dataset, model=None, step=0)
    run.__dict__["scorer"] = score
    run.__dict__["ranker"] = PairRanker(score, num_item_rows=dataset.num_item_rows)
    return run


def rated(run):
    """user id -> ids of the items rated in any split, row by row."""
    found = {}
    for split in ("train", "validation", "test"):
        for row in run.dataset.table(split).to_pylist():
            user = (
                row["user_id"]
                if "user_id" in row
                else run.dataset.users["user_id"][row["user_index"] - 1].as_py()
            )
            item = (
                row["item_id"]
                if "item_id" in row
                else run.dataset.items["item_id"][row["item_index"] - 1].as_py()
            )
            found.setdefault(user, set()).add(item)
    return found


def slow_list(run, user, k, left_out):
    """The k best items of a known user by a full sort, in pure Python."""
    users, items = (run.dataset.users["user_id"].to_pylist(), run.dataset.items["item_id"].to_pylist())
    scores = {
        item: score(users.index(user) + 1, i + 1) for i, item in enumerate(items) if item not in left_out
    }
    return sorted(scores, key=scores.get, reverse=True)[:k]


@pytest.mark.parametrize("include_seen", [False, True])
@pytest.mark.parametrize("group", [7, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_lists_are_those_of_a_full_sort(run, monkeypatch, seed, group, include_seen):
    monkeypatch.setattr(recommend_many, "GROUP_USERS", group)
    rng = np.random.default_rng(seed)
    items = run.dataset.items["item_id"].to_numpy()
    exclude = rng.choice(items, rng.integers(0, 20), replace=False)
    only = rng.choice(items, rng.integers(1, 30), replace=False) if seed % 2 else None
    k = int(rng.integers(1, 40))
    users = run.dataset.users["user_id"].to_pylist()
    lists = recommend(run, user_ids="all", k=k, exclude=exclude, only=only, include_seen=include_seen)
    assert list(lists.columns) == COLUMNS
    seen = {} if include_seen else rated(run)
    got = dict(iter(lists.groupby("user_id")))
    for user in users:
        left_out = set(exclude) | seen.get(user, set()) | (set() if only is None else set(items) - set(only))
        expected = slow_list(run, user, k, left_out)
        assert (got[user]["item_id"].tolist() if user in got else []) == expected
        if expected:
            assert got[user]["rank"].tolist() == list(range(1, len(expected) + 1))


def test_each_list_is_that_of_the_user_alone_unknown_users_too(run):
    cold = sorted(set(rated(run)) - set(run.dataset.users["user_id"].to_pylist()))
    users = [10, *cold, 99_999, 5]
    assert cold, "the split must leave users without training rows"
    lists = recommend(run, user_ids=users, k=5, exclude=[1, 2])
    assert lists["user_id"].drop_duplicates().tolist() == users
    for user in users:
        alone = recommend(run, user, k=5, exclude=[1, 2])
        many = lists[lists["user_id"] == user]
        assert many["item_id"].tolist() == alone.items["item_id"].tolist()
        assert many["score"].tolist() == alone.items["score"].tolist()
        assert set(many["known_user"]) == {alone.known_user}
    assert not lists[lists["user_id"].isin([*cold, 99_999])]["known_user"].any()


def test_excluded_pairs_concern_their_user_only(run):
    first = recommend(run, user_ids=[10, 99_999, 12], k=3)
    top = first[first["rank"] == 1]
    pairs = top[["user_id", "item_id"]].iloc[:2]
    then = recommend(run, user_ids=[10, 99_999, 12], k=2, exclude=pairs)
    for user in (10, 99_999):
        expected = first[first["user_id"] == user]["item_id"].tolist()[1:]
        assert then[then["user_id"] == user]["item_id"].tolist() == expected
    assert (
        then[then["user_id"] == 12]["item_id"].tolist()
        == first[first["user_id"] == 12]["item_id"].tolist()[:2]
    )


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz", "jsonl", "jsonl.gz"])
def test_every_format_holds_the_same_lists(run, tmp_path, suffix):
    out = tmp_path / f"lists.{suffix}"
    counts = recommend(run, user_ids="all", k=3, out=out)
    expected = recommend(run, user_ids="all", k=3)
    if suffix == "parquet":
        got = pq.read_table(out).to_pandas()
    elif "csv" in suffix:
        got = pd.read_csv(out)
    else:
        got = pd.read_json(out, lines=True)
    assert got["item_id"].tolist() == expected["item_id"].tolist()
    assert np.allclose(got["score"], expected["score"], rtol=1e-9)
    assert counts.rows == len(expected)
    assert os.listdir(tmp_path) == [out.name]


def test_a_write_that_fails_leaves_the_old_file(run, tmp_path):
    out = tmp_path / "lists.csv"
    out.write_text("old")
    schema = _schema(run)

    def interrupted():
        with table_file(out, schema) as write:
            write(schema.empty_table())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert out.read_text() == "old"
    assert os.listdir(tmp_path) == ["lists.csv"]


def _schema(run):
    from trainer.serving.candidates import candidates_of

    return recommend_many.ManyUsers(
        run, run.dataset.user_vocabulary.ids, 1, candidates_of(run.dataset)
    ).schema


@pytest.mark.parametrize(
    ("name", "text", "users"),
    [
        ("u.txt", "5\n\n10\r\n5\n", [5, 10]),
        ("u.csv", "rating,userId\n3,10\n3,5\n", [10, 5]),
        ("u.txt", "07\n10\n", ["07", "10"]),
        ("u.tsv", "\ufeffuser_id\tx\n5\t1\n", [5]),
    ],
)
def test_users_of_a_file_keep_their_order_and_count_once(run, tmp_path, name, text, users):
    (tmp_path / name).write_text(text, newline="")
    lists = recommend(run, user_ids=tmp_path / name, k=1)
    assert lists["user_id"].tolist() == users
    assert lists["known_user"].tolist() == [str(user) != "07" for user in users]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"user_id": 5, "user_ids": [5]}, "user_id or user_ids"),
        ({"user_ids": []}, "at least one user id"),
        ({"user_ids": "10"}, "list of ids"),
        ({"user_ids": [None]}, "must hold ids"),
        ({"user_ids": [5], "only": []}, "at least one item id"),
        ({"user_ids": [5], "exclude": 7}, "list of ids"),
        ({"user_ids": [5], "out": "lists.xlsx"}, "must end in"),
        ({"user_ids": [5], "out": "nowhere/lists.csv"}, "folder must exist"),
        ({"out": "lists.csv"}, "needs user_ids"),
    ],
)
def test_bad_arguments_are_one_line(run, arguments, message):
    with pytest.raises(UserError, match=message) as raised:
        recommend(run, **arguments)
    assert "\n" not in str(raised.value)


def test_all_items_excluded_leaves_no_rows(run, tmp_path):
    counts = recommend(
        run, user_ids="all", exclude=run.dataset.items["item_id"].to_pylist(), out=tmp_path / "l.jsonl"
    )
    assert (counts.rows, counts.short_users) == (0, len(run.dataset.users))
    assert (tmp_path / "l.jsonl").read_text() == ""
    assert (
        json.dumps(recommend(run, 5, only=[999]).items.to_dict("list"))
        == '{"item_id": [], "title": [], "score": []}'
    )
