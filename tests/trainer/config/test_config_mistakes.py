"""What is amiss in a configuration file is one line, status 2, and nothing is left behind."""

import pytest

pytestmark = pytest.mark.usefixtures("sandbox")

NESTED = "[" * 5000
MISTAKES = {
    "unknown key": (
        "a.yaml",
        "train:\n  epoch: 3\n",
        "a.yaml:2: unknown setting 'train.epoch'; known: train.",
    ),
    "unknown part": (
        "a.yaml",
        "\ntrian: {epochs: 3}\n",
        "a.yaml:2: unknown setting 'trian'; known: data, model,",
    ),
    "key of no part": ("a.yaml", "epochs: 3\n", "a.yaml:1: unknown setting 'epochs'; known: data, model,"),
    "duplicate": (
        "a.yaml",
        "train:\n  epochs: 3\n  epochs: 4\n",
        "a.yaml:3: each key may appear only once, got train.epochs again",
    ),
    "duplicate part": (
        "a.yaml",
        "train: {seed: 3}\ntrain: {epochs: 4}\n",
        "a.yaml:2: each key may appear only once, got",
    ),
    "nested and dotted": (
        "a.yaml",
        "train: {epochs: 3}\ntrain.epochs: 3\n",
        "a.yaml:2: each key may appear only once, got train.epochs again",
    ),
    "duplicate in JSON": (
        "a.json",
        '{"train": {"epochs": 3, "epochs": 4}}',
        "a.json: each key may appear only once, got train.epochs again",
    ),
    "key that is a number": ("a.yaml", "3: 4\n", "a.yaml:1: a key must be a string, got 3"),
    "key that is a list": ("a.yaml", "? [a]\n: 4\n", "a.yaml:1: a key must be a string, got ['a']"),
    "text for a number": ("a.yaml", "train.epochs: three\n", "train.epochs must be int, got 'three'"),
    "float for an int": ("a.yaml", "train.epochs: 3.0\n", "train.epochs must be int, got 3.0"),
    "octal": ("a.yaml", "train.epochs: 010\n", "train.epochs must be int, got '010'"),
    "bool for an int": ("a.yaml", "train.epochs: true\n", "train.epochs must be int, got True"),
    "null for an int": ("a.yaml", "train.epochs:\n", "train.epochs must be int, got None"),
    "number for a text": ("a.yaml", "data.users: 3\n", "data.users must be str, got 3"),
    "number for a choice": ("a.yaml", "data.format: 3\n", "data.format must be one of auto, ml-100k,"),
    "list for a number": ("a.yaml", "train.epochs: [3]\n", "train.epochs must be int, got [3]"),
    "mapping for a number": ("a.yaml", "train: {epochs: {x: 3}}\n", "train.epochs must be int, got {'x': 3}"),
    "number for a part": (
        "a.yaml",
        "train: 3\n",
        "a.yaml:1: train must be a mapping of keys to values, got 3",
    ),
    "number for the recipe": ("a.yaml", "recipe: 3\n", "a.yaml: recipe must be str, got 3"),
    "unknown recipe": ("a.yaml", "recipe: fm\n", "recipe must be one of article, "),
    "widths": (
        "a.yaml",
        "model.hidden_units: [8, x]\n",
        "model.hidden_units must be whole numbers with commas",
    ),
    "out of range": ("a.yaml", "train: {epochs: 0}\n", "train.epochs must be at least 1, got 0"),
    "NaN": (
        "a.yaml",
        "optimizer.learning_rate: .nan\n",
        "optimizer.learning_rate must be a positive number, got",
    ),
    "NaN in JSON": (
        "a.json",
        '{"optimizer.learning_rate": NaN}',
        "optimizer.learning_rate must be a positive",
    ),
    "anchor": (
        "a.yaml",
        "train: &a {epochs: 3}\n",
        "a.yaml:1: anchors, aliases and tags are not allowed,",
    ),
    "anchor of a key": (
        "a.yaml",
        "&a train: {epochs: 3}\n",
        "a.yaml:1: anchors, aliases and tags",
    ),
    "alias": (
        "a.yaml",
        "train: *a\n",
        "a.yaml:1: anchors, aliases and tags are not allowed, got the alias",
    ),
    "merge": (
        "a.yaml",
        "train: {<<: {epochs: 3}}\n",
        "a.yaml:1: unknown setting 'train.<<'; known: train.epochs",
    ),
    "tag": (
        "a.yaml",
        "train.epochs: !!int 3\n",
        "a.yaml:1: anchors, aliases and tags are not allowed, got",
    ),
    "own tag": (
        "a.yaml",
        "train: !x {epochs: 3}\n",
        "a.yaml:1: anchors, aliases and tags are not allowed",
    ),
    "no tag": ("a.yaml", "train.epochs: ! 3\n", "a.yaml:1: anchors, aliases and tags are not allowed"),
    "python tag": (
        "a.yaml",
        "train: !!python/object/apply:os.system ['touch touched']\n",
        "a.yaml:1: anchors, aliases and tags are not allowed, got the tag 'tag:yaml.org,2002:py",
    ),
    "two documents": (
        "a.yaml",
        "train.epochs: 3\n---\nx: 1\n",
        "a.yaml:2: a configuration must be one YAML document, got",
    ),
    "list": (
        "a.yaml",
        "- train\n",
        "a.yaml: a configuration must be a mapping of keys to values, got ['train']",
    ),
    "text": ("a.yaml", "train\n", "a.yaml: a configuration must be a mapping of keys to values, got 'train'"),
    "empty": ("a.yaml", "", "a.yaml: a configuration must be a mapping of keys to values, got None"),
    "list in JSON": ("a.json", "[1]", "a.json: a configuration must be a mapping of keys to values, got [1]"),
    "empty JSON": ("a.json", "", "a.json:1: a .json file must be JSON, got: Expecting value"),
    "no JSON": ("a.json", '{"train":\n', "a.json:2: a .json file must be JSON, got: Expecting value"),
    "no YAML": ("a.yaml", "train: {epochs: 3\nseed", "a.yaml:2: a configuration file must be YAML, got: "),
    "tab": ("a.yaml", "train:\n\tepochs: 3\n", "a.yaml:2: a configuration file must be YAML, got: "),
    "NUL": ("a.yaml", "train: \0\n", "a.yaml: a configuration file must be YAML, got the character '\\x00'"),
    "no UTF-8": (
        "a.yaml",
        b"train: \xff\n",
        "a.yaml: a configuration file must be UTF-8 text, got the byte b'\\xff'",
    ),
    "UTF-16": (
        "a.yaml",
        "train: {}".encode("utf-16"),
        "a.yaml: a configuration file must be UTF-8 text, got the byte",
    ),
    "too large": (
        "a.yaml",
        b"#" * 1_000_001,
        "a.yaml: a configuration file must have at most 1,000,000 bytes, got more",
    ),
    "too deep": ("a.yaml", NESTED, "a.yaml: a configuration must have at most two levels, got many more"),
    "too deep JSON": (
        "a.json",
        NESTED * 40,
        "a.json: a configuration must have at most two levels, got many more",
    ),
    "digits": (
        "a.yaml",
        f"train.epochs: {'9' * 5000}\n",
        "a.yaml: a configuration file must be YAML, got: Exceeds",
    ),
    "digits in JSON": (
        "a.json",
        f'{{"train.epochs": {"9" * 5000}}}',
        "a.json: a .json file must be JSON, got: Ex",
    ),
}


@pytest.mark.parametrize("verb", [("train", "good.csv"), ("config",)], ids=["train", "config"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_file_is_one_line_and_status_2(run, sandbox, mistake, verb):
    name, content, message = MISTAKES[mistake]
    (sandbox / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(sandbox.rglob("*"))
    status, out, err = run(*verb, "--config", name)
    assert (status, out) == (2, "")
    assert err.startswith(f"reeltrain: {message}")
    assert err.count("\n") == 1
    assert sorted(sandbox.rglob("*")) == before


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("missing.yaml", "missing.yaml: no such configuration file"),
        (".", ".: a configuration must be a file, got a folder"),
        ("good.csv/run.yaml", "good.csv/run.yaml: a configuration file must be readable, got: "),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_and_status_2(run, file, message):
    status, out, err = run("train", "good.csv", "--config", file)
    assert (status, out) == (2, "")
    assert err.startswith(f"reeltrain: {message}")
    assert err.count("\n") == 1
