"""Hooks of mkdocs: the dated result files of benchmarks/ become pages, and links to them are followed.

In the repository a page links to `../benchmarks/results/x.md`, which is outside docs/. On the site that file
is a page, one folder nearer: `benchmarks/results/x.md`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Adds every result file as a page."""
    for path in sorted(RESULTS.glob("*.md")):
        files.append(File.generated(config, f"benchmarks/results/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Takes one `../` off each link to a result file."""
    return re.sub(r"\]\(\.\./((?:\.\./)*benchmarks/results/)", r"](\1", markdown)
