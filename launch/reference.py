"""The command line's reference page, made from the commands themselves.

    .venv/bin/python -m launch.reference > docs/cli.md

tests/repository/test_docs.py fails when the page is stale.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from launch.cli import cli

PROGRAM = "reeltrain"
INTRODUCTION = """\
# Command line

This page is generated from the commands: `python -m launch.reference > docs/cli.md`.

Results go to stdout, everything else to stderr. With `--json`, stdout holds exactly one JSON object.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | a mistake in the arguments or the data: one line with the rule and the value received |
| 128 + N | stopped by signal N after a checkpoint was saved (SIGTERM: 143) |
"""


def reference() -> str:
    """The page in Markdown."""
    return "\n".join([INTRODUCTION, *_sections(cli, PROGRAM)]).rstrip() + "\n"


def _sections(command: click.Command, path: str) -> Iterator[str]:
    """The command's section, then those of its subcommands."""
    context = click.Context(command, info_name=path, color=False, max_content_width=10_000)
    yield f"## {path}\n"
    yield _paragraphs(command.help or "")
    yield f"```text\n{path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    for parameter in command.get_params(context):
        names, text = parameter.get_help_record(context) or ("", "")
        if text and not names.endswith("--help"):
            yield f"- `{names}`: {_escaped(' '.join(text.split()))}"
    yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            if subcommand is not None and not subcommand.hidden:
                yield from _sections(subcommand, f"{path} {name}")


def _paragraphs(text: str) -> str:
    """A command's help; what click is asked not to rewrap is a block of its own."""
    parts = []
    for paragraph in inspect.cleandoc(text.partition("\f")[0]).split("\n\n"):
        if paragraph.startswith("\b"):
            lines = paragraph.removeprefix("\b").strip()
            parts.append(f"```text\n{lines}\n```")
        else:
            parts.append(_escaped(" ".join(paragraph.split())))
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """Shows `<` as it is, not as the start of an HTML tag; code in backticks needs no escape."""
    pieces = text.split("`")
    return "`".join(
        piece if number % 2 else piece.replace("<", "&lt;") for number, piece in enumerate(pieces)
    )


if __name__ == "__main__":
    print(reference(), end="")
