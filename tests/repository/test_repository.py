"""The small files of the repository: they parse, and what they name exists."""

import os
import re
import subprocess
import tomllib

import pytest
import yaml

from conftest import PROJECT

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
PRE_COMMIT = PROJECT / ".pre-commit-config.yaml"
CITATION = PROJECT / "CITATION.cff"
PROSE = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
MAKEFILE = (PROJECT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def parsed(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def project():
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]


def recipe(target):
    """The lines of a target's recipe, variables of the Makefile left as they are."""
    (found,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return [line.strip().lstrip("@") for line in found.splitlines()]


def made_in(path):
    """The targets that a file calls: in a script or YAML on lines of their own, in Markdown as code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
        return re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z-]+)", "\n".join(blocks), re.M)
    return re.findall(r"^[ #-]*(?:run: )?make ([a-z-]+)", text, re.MULTILINE)


@pytest.mark.parametrize("path", [*WORKFLOWS, PRE_COMMIT, CITATION], ids=lambda path: path.name)
def test_a_yaml_file_parses(path):
    assert parsed(path)


def test_the_makefile_has_every_target_that_is_called_anywhere():
    called = {}
    for path in [*WORKFLOWS, PRE_COMMIT, PROJECT / ".ci" / "run", *PROSE]:
        for target in made_in(path):
            called.setdefault(target, path.name)
    assert {"train", "test", "lint", "check", "build", "audit"} <= set(called)
    assert not {target: name for target, name in called.items() if target not in TARGETS}


def test_the_workflow_calls_nothing_but_make_on_every_python_of_the_project():
    (workflow,) = map(parsed, WORKFLOWS)
    (job,) = workflow["jobs"].values()
    supported = [line.rpartition(" ")[2] for line in project()["classifiers"] if "Python :: 3." in line]
    assert job["strategy"]["matrix"]["python"] == supported
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == ["make lint", "make test", "make test-systems", "make docs", "make build"]
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow


def test_the_pre_commit_hooks_are_the_commands_of_make_lint():
    """But for options of their output, and for the files: a hook gets those that are committed."""
    (repository,) = parsed(PRE_COMMIT)["repos"]
    assert repository["repo"] == "local"

    def plain(command):
        words = command.replace("$(BIN)", ".venv/bin").split()
        return [word for word in words if word not in ("--quiet", "--output-format", "concise", ".")]

    in_lint = [plain(line) for line in recipe("lint")]
    hooks = [
        plain(hook["entry"]) + (["docker/Dockerfile"] if "files" in hook else [])
        for hook in repository["hooks"]
    ]
    assert hooks == in_lint
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def test_the_citation_is_of_this_version():
    citation = parsed(CITATION)
    assert citation["version"] == project()["version"]
    assert citation["license"] == project()["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_docker_gets_every_package_of_the_wheel():
    allowed = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    packages = {path.parent.name for path in PROJECT.glob("*/py.typed")}
    assert packages == {"data_pipeline", "launch", "reeltrain", "trainer"}
    assert allowed >= packages | {"pyproject.toml", "README.md", "LICENSE", "requirements"}


def test_the_audit_looks_at_every_lock():
    command = "\n".join(recipe("audit"))
    assert "pip-audit --strict" in command
    assert "$(LOCKS:%=--requirement requirements/%.txt)" in command
    (locks,) = re.findall(r"^LOCKS := (.*)", MAKEFILE, re.MULTILINE)
    assert {f"{name}.txt" for name in locks.split()} == {p.name for p in (PROJECT / "requirements").iterdir()}


@pytest.mark.slow
def test_without_a_network_the_audit_fails_with_one_line(tmp_path):
    nowhere = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        # -o: the tools are there; nothing is installed anew.
        ["make", "--silent", "-o", ".venv/dev", "audit"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(tmp_path), **nowhere},
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2, done  # make's own status for a recipe that failed
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("audit: ")
    assert "proxy" in lines[0].lower()
    assert not done.stdout
