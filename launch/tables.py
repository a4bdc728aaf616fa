"""Text that any stdout can show: aligned tables, one-line cells, quoted paths."""

from __future__ import annotations

import io
import os
import shlex
import sys
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path

# No line of ours is wider, unless it holds a path or a title.
WIDTH = 100


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Collection[int] = (0,),
    bold: Collection[tuple[int, int]] = (),
) -> str:
    """Rows in aligned columns under their heads, as wide as their content, without lines or colours.

    Args:
        heads: one per column; all empty for a table without a header line.
        left: columns that are aligned to the left; the others are aligned to the right.
        bold: cells (row, column) that a terminal shows bold.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, show_header=any(heads), header_style="bold")
    for index, head in enumerate(heads):
        grid.add_column(one_line(head), justify="left" if index in left else "right", no_wrap=True)
    for number, row in enumerate(rows):
        styles = ("bold" if (number, index) in bold else "" for index in range(len(row)))
        grid.add_row(*(Text(one_line(cell), style) for cell, style in zip(row, styles, strict=True)))
    # Never narrower than its content: a cell that was cut would differ between a terminal and a pipe.
    console = Console(file=io.StringIO(), width=100_000, force_terminal=sys.stdout.isatty(), emoji=False)
    with console.capture() as capture:
        console.print(grid)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def one_line(text: str) -> str:
    """The text with control characters and what stdout cannot encode as escapes, so that columns align.

    >>> one_line("a\\tb")
    'a\\\\tb'
    """
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return encodable("".join(shown))


def encodable(text: str) -> str:
    """The text with what stdout cannot encode as escapes: titles have accents, and paths may be any bytes."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def quoted(*words: str | Path) -> str:
    """Words of a command line, or a path, to paste into a shell.

    >>> quoted("tensorboard", "--logdir", Path("my runs"))
    "tensorboard --logdir 'my runs'"
    """
    return shlex.join(os.fspath(word) for word in words)


def wrapped(text: str) -> list[str]:
    """Lines of at most `WIDTH` columns."""
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False)
