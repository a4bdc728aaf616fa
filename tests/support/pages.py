"""The code blocks of README.md and docs/, and the program that runs those of one page.

    pages.py PAGE    runs the page's blocks, in order, in the current folder

Python blocks share one namespace, lines that begin with `reeltrain` are processes, a block whose title is a
file name is written to that file. Blocks titled with the name of another library are not run, nor is output
(`text`).
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("python", "sh", "text", "json", "yaml")
# Not installed here: their code is compiled, not run.
OTHER_LIBRARIES = ("TFRS", "RecBole")
# Generated, or records of what was, not instructions.
NOT_RUN = ("LOG.md", "cli.md", "design.md", "results.md")
COMMANDS = ("reeltrain", ".venv/bin/reeltrain")
COMMAND_TIMEOUT_SECS = 90

_FENCE = re.compile(r"^```(\S*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: path of its page, from the project's root.
        line: number of its first line of code, from 1.
        title: of `title="…"`, else empty.
    """

    page: str
    line: int
    language: str
    title: str
    code: str

    @property
    def is_file(self) -> bool:
        return "." in self.title

    @property
    def is_run(self) -> bool:
        return self.title not in OTHER_LIBRARIES

    @property
    def has_something_to_run(self) -> bool:
        commands = self.commands() if self.language == "sh" else []
        return self.language == "python" or any(words[0] in COMMANDS for words in commands)

    def commands(self) -> list[list[str]]:
        """The commands of a shell block, without comments."""
        lines = [shlex.split(line, comments=True) for line in self.code.splitlines()]
        return [words for words in lines if words]


def pages() -> list[str]:
    """README.md and the pages of docs/ that a reader types from."""
    found = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name not in NOT_RUN]
    return ["README.md", *(str(path.relative_to(ROOT)) for path in found)]


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = []
    for fence in _FENCE.finditer(text):
        language, attributes, code = fence.groups()
        title = re.search(r'title="([^"]*)"', attributes)
        line = text.count("\n", 0, fence.start()) + 2
        blocks.append(Block(page, line, language, title[1] if title else "", code))
    return blocks


def run_page(page: str) -> None:
    """Runs the blocks of a page; raises where one fails."""
    sys.path.insert(0, "")
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.is_file:
            Path(block.title).write_text(block.code, encoding="utf-8")
        elif block.language == "python" and block.is_run:
            # Tracebacks then have the page's line numbers.
            exec(compile("\n" * (block.line - 1) + block.code, page, "exec"), names)
        elif block.language == "sh":
            for words in block.commands():
                if words[0] in COMMANDS:
                    print(f"{page}:{block.line}: {shlex.join(words)}", flush=True)
                    run_command(words[1:])


def run_command(words: list[str]) -> None:
    """Runs `reeltrain WORDS`; raises where it fails. The words may end with `> FILE`."""
    arguments, target = (words[:-2], words[-1]) if ">" in words[-2:-1] else (words, None)
    command = [sys.executable, "-m", "launch.main", *arguments]
    with open(target, "wb") if target else contextlib.nullcontext() as stdout:
        subprocess.run(
            command, check=True, timeout=COMMAND_TIMEOUT_SECS, stdin=subprocess.DEVNULL, stdout=stdout
        )


if __name__ == "__main__":
    run_page(sys.argv[1])
