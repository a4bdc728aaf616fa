"""`prepare`'s options for reading: each is a setting, and what it says is in the dataset."""

import json

import pytest

from data_pipeline.dataset.dataset import open_dataset
from data_pipeline.dataset.splits import SPLITS
from data_pipeline.sources.generated import generate_ratings
from launch.main import main
from support.reading import write


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    """A folder with ratings under other names, one row of them bad, and side tables."""
    monkeypatch.chdir(tmp_path)
    rows = generate_ratings(num_users=20, num_items=30, num_ratings=300, seed=1).table.to_pylist()
    lines = [f"u{row['user_id']};{row['item_id']};{row['rating']}" for row in rows]
    lines.insert(100, "u1;2;bad")
    write(tmp_path, "who;what;stars\n" + "\n".join(lines), "data.txt")
    write(
        tmp_path,
        "who,age,likes\n" + "".join(f"u{user},{20 + user},a|b\n" for user in range(1, 21)),
        "people.csv",
    )
    write(tmp_path, "id\ttitle\n" + "".join(f"{item}\tFilm {item}\n" for item in range(1, 31)), "films.tsv")
    return tmp_path


OPTIONS = [
    *("--format", "csv", "--columns", "user=who,item=what,rating=stars", "--bad-rows", "drop"),
    *("--users", "people.csv", "--items", "films.tsv", "--duplicates", "keep-first"),
]


def prepared(sandbox, *arguments, out):
    main(["prepare", "data.txt", "--out", out, "--json", *arguments])
    return open_dataset(sandbox / out)


def test_every_option_reaches_the_dataset(sandbox, capsys):
    dataset = prepared(sandbox, *OPTIONS, out="out")
    assert json.loads(capsys.readouterr().out)["rows"] == 300
    assert sum(dataset.num_rows(split) for split in SPLITS) == 300
    users, items = dataset.users.to_pydict(), dataset.items.to_pydict()
    assert users["age"] == [20 + int(user[1:]) for user in users["user_id"]]
    assert users["likes"] == [["a", "b"]] * len(users["user_id"])
    assert items["title"] == [f"Film {item}" for item in items["item_id"]]
    settings = dataset.manifest["settings"]
    assert settings["duplicates"] == "keep-first"
    assert settings["bad_rows"] == "drop"


def test_options_are_settings(sandbox):
    by_options = prepared(sandbox, *OPTIONS, out="options")
    keys = (option.removeprefix("--").replace("-", "_") for option in OPTIONS[::2])
    values = [f"data.{key}={value}" for key, value in zip(keys, OPTIONS[1::2], strict=True)]
    by_settings = prepared(sandbox, *(each for value in values for each in ("--set", value)), out="settings")
    assert by_options.fingerprint == by_settings.fingerprint
