"""README.md and docs/: code blocks work, generated pages are fresh, the site builds without a warning."""

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from data_pipeline.sources.generated import generate_ratings
from support import pages, runs
from support.pages import OTHER_LIBRARIES, ROOT

PAGES = pages.pages()
BLOCKS = [block for page in PAGES for block in pages.blocks_of(page)]
COMMANDS = [(block, words) for block in BLOCKS if block.language == "sh" for words in block.commands()]
PAGE_TIMEOUT_SECS = 240
MAX_README_LINES = 130


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """The files that the pages name, small."""
    folder = tmp_path_factory.mktemp("data")
    ratings = generate_ratings(num_users=60, num_items=80, num_ratings=1500, seed=5).table
    old, new = ratings.slice(0, 1400), ratings.slice(1400)
    pa.csv.write_csv(old, folder / "ratings.csv")
    pa.csv.write_csv(new, folder / "new.csv")
    odd = old.rename_columns(["who", "what", "stars", "when"]).append_column("w", pa.array(np.ones(1400)))
    pa.csv.write_csv(odd, folder / "odd.csv")
    headless = pa.csv.WriteOptions(include_header=False)
    pa.csv.write_csv(old.select(["user_id", "item_id"]), folder / "headless.csv", headless)
    genres = ["Comedy|Drama", "Drama"]
    items = [f"{item},Film {item},{genres[item % 2]}\n" for item in range(1, 81)]
    (folder / "items.csv").write_text("item_id,title,genres\n" + "".join(items))
    users = [f"{user},{20 + user}\n" for user in range(1, 61)]
    (folder / "users.csv").write_text("user_id,age\n" + "".join(users))
    return folder


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.has_something_to_run}))
@pytest.mark.slow
def test_the_code_of_the_page_runs(page, data_folder, tmp_path):
    folder = tmp_path / "page"
    shutil.copytree(data_folder, folder)
    done = subprocess.run(
        [str(runs.python()), pages.__file__, page],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        timeout=PAGE_TIMEOUT_SECS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_there_are_pages_and_blocks():
    assert len(PAGES) >= 12
    assert len(BLOCKS) >= 40
    assert {"README.md", "docs/index.md", "docs/guides/models.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_fence_is_a_block_of_a_known_language(page):
    blocks = pages.blocks_of(page)
    assert not [f"{block.page}:{block.line}" for block in blocks if block.language not in pages.LANGUAGES]
    # Also those that are indented or not closed, which would not be found.
    assert (ROOT / page).read_text().count("```") == 2 * len(blocks)


def test_code_of_other_libraries_compiles():
    theirs = [block for block in BLOCKS if not block.is_run]
    assert {block.title for block in theirs} == set(OTHER_LIBRARIES)
    for block in theirs:
        compile(block.code, f"{block.page}:{block.line}", "exec")


def test_json_blocks_are_json():
    blocks = [block for block in BLOCKS if block.language == "json"]
    assert blocks
    for block in blocks:
        json.loads(block.code)


def test_examples_import_nothing_from_the_inside():
    for block in BLOCKS:
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.code)):
            imported = (
                [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
            )
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            inside = {name.partition(".")[0] for name in imported} & {"trainer", "data_pipeline", "launch"}
            assert not inside, f"{block.page}:{block.line}"


def test_commands_that_are_not_run_are_of_this_project():
    for block, words in COMMANDS:
        if words[0] not in pages.COMMANDS:
            assert not _fault_of(words), f"{block.page}:{block.line}: {' '.join(words)}: {_fault_of(words)}"


def _fault_of(words: list[str]) -> str:
    """What is wrong with a line for make, pip or docker; empty if nothing is."""
    program, arguments = words[0], words[1:]
    if program == "make":
        makefile = (ROOT / "Makefile").read_text()
        for word in arguments:
            name, is_variable, _ = word.partition("=")
            if is_variable and f"$({name})" not in makefile and f"$(if $({name})" not in makefile:
                return f"no variable {name}"
            if not is_variable and not re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE):
                return f"no target {word}"
        return ""
    if program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = re.findall(r"\.\[(\w+)\]", " ".join(arguments))
        return "" if extras and set(extras) <= set(project["optional-dependencies"]) else "no such extra"
    if program == "docker":
        pairs = dict(itertools.pairwise(arguments))
        files = [word for previous, word in itertools.pairwise(arguments) if previous in ("-f", "--file")]
        missing = [file for file in files if not (ROOT / file).is_file()]
        if missing or not files:
            return f"no file {missing}"
        dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
        target = pairs.get("--target")
        if target and not re.search(rf"^FROM \S+ AS {target}$", dockerfile, re.MULTILINE):
            return f"no stage {target}"
        if "run" in arguments and f"\n  {_service(arguments)}:" not in (ROOT / files[0]).read_text():
            return f"no service {_service(arguments)}"
        return ""
    return "neither reeltrain, make, pip nor docker"


def _service(arguments: list[str]) -> str:
    """The service of `docker compose … run --rm [-v …] SERVICE …`."""
    after = iter(arguments[arguments.index("run") + 1 :])
    for word in after:
        if word == "-v":
            next(after)
        elif not word.startswith("-"):
            return word
    return ""


@pytest.mark.parametrize(
    "line",
    [
        "make nothing",
        "make train NOTHING=1",
        "pip install .[nothing]",
        "docker build --file docker/Dockerfile --target nothing",
        "docker compose -f docker/nothing.yaml up",
        "docker compose -f docker/compose.yaml run --rm nothing recommend",
        "curl nothing",
    ],
)
def test_a_wrong_command_is_found(line):
    assert _fault_of(line.split())


def test_readme_is_short_and_names_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= MAX_README_LINES
    assert "\nmake train " in text
    assert "\nmake test " in text


def test_links_of_the_readme_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text())
    assert len(links) > 20
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_command_line_page_is_fresh_and_made_without_tensorflow():
    code = (
        "import sys; from launch.reference import reference; sys.stdout.write(reference()); "
        "sys.exit(any(name.partition('.')[0] in ('tensorflow', 'keras') for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr or "TensorFlow was imported"
    page = (ROOT / "docs" / "cli.md").read_text()
    assert page == done.stdout, "stale: run `.venv/bin/python -m launch.reference > docs/cli.md`"


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_without_other_hosts(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--quiet",
            "--site-dir",
            str(tmp_path / "site"),
        ],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # Not with --quiet: then warnings are not counted either.
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    for path in Path(tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r'(?:src|<link[^>]*href)="?(https?://[^" >]+)', path.read_text())
        assert not loaded, f"{path.name} loads {loaded}"
